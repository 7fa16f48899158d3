"""Which channels go: by the loss, by layer, and by measured time."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.errors import InternalError
from burnish.passes import Prune
from tests import models
from tests.workers.passes.coupled_nets import Net, context, export, prune, rows
from workers.graphs.own_weights import with_own_weights
from workers.passes.base import Applied, Samples
from workers.passes.prune import PrunePass
from workers.passes.prune_gradients import gradients
from workers.profile import LayerProfile, Profile


def shapes(applied: Applied) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in applied.program.named_parameters()}


def treatment(applied: Applied, layer: str) -> tuple[str, str]:
    return next((entry.treatment, entry.reason) for entry in applied.layers if entry.layer == layer)


def profile(**seconds: float) -> Profile:
    layers = tuple(
        LayerProfile(name=name.replace("_", "."), op="linear", parameters=0, flops=0, seconds=value)
        for name, value in seconds.items()
    )
    return Profile(layers=layers, seconds=sum(seconds.values()), batch=1, threads=1, bfloat16=False)


def by_time(program: ExportedProgram, measured: Profile, **settings: object) -> Applied:
    made = Prune.model_validate({"scope": "time", "round_to": 1, **settings})
    return PrunePass().apply(program, made, dataclasses.replace(context(program), profile=measured))


def by_loss(
    program: ExportedProgram, inputs: torch.Tensor, targets: torch.Tensor | None, **settings: object
) -> Applied:
    made = Prune.model_validate({"importance": "taylor", "round_to": 1, **settings})
    given = dataclasses.replace(context(program), calibration=Samples((inputs,), targets))
    return PrunePass().apply(program, made, given)


# --- measured time ---


def test_channels_go_where_the_time_was_measured() -> None:
    applied = by_time(models.program("mlp"), profile(layers_0=1e-6, layers_2=1e-6, layers_5=98e-6), ratio=0.4)
    assert shapes(applied)["layers.5.weight"][1] < 64 * 0.61
    assert shapes(applied)["layers.0.weight"][0] == 64


def test_a_layer_slow_for_its_size_loses_more_than_one_with_more_weights() -> None:
    """The second layer has three times the weights, and so the operations, of the first."""
    slow_first = by_time(models.program("mlp"), profile(layers_0=90e-6, layers_2=9e-6, layers_5=1e-6), ratio=0.3)
    found = shapes(slow_first)
    assert found["layers.0.weight"][0] < found["layers.2.weight"][0]


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.8])
def test_the_measured_time_falls_by_the_ratio(ratio: float) -> None:
    measured = profile(layers_0=20e-6, layers_2=60e-6, layers_5=20e-6)
    figures = by_time(models.program("mlp"), measured, ratio=ratio).figures
    left = figures["layer_seconds_expected"] / figures["layer_seconds_before"]
    assert 1 - ratio - 0.05 < left <= 1 - ratio


def test_time_that_can_not_be_saved_ends_the_search_with_one_step_of_each_group() -> None:
    applied = by_time(models.program("mlp"), profile(layers_0=1e-6, elsewhere=1.0), ratio=0.5, round_to=8)
    assert shapes(applied)["layers.0.weight"] == [8, 20]
    assert shapes(applied)["layers.2.weight"] == [64, 8]
    assert applied.figures["layer_seconds_expected"] > 0.9 * applied.figures["layer_seconds_before"]


def test_counts_are_multiples_of_round_to_by_time_too() -> None:
    measured = profile(layers_0=20e-6, layers_2=60e-6, layers_5=20e-6)
    found = shapes(by_time(models.program("mlp"), measured, ratio=0.4, round_to=8))
    assert found["layers.0.weight"][0] % 8 == found["layers.2.weight"][0] % 8 == 0


def test_layers_of_one_recurrent_network_keep_the_same_number_by_time_too() -> None:
    net = Net(lambda n, x: n.out(n.body(x)[0][:, -1]), body=nn.GRU(6, 8, 2, batch_first=True), out=nn.Linear(8, 3))
    found = shapes(by_time(export(net, rows(4)), profile(body=9e-5, out=1e-5), ratio=0.3))
    assert found["body.weight_hh_l0"] == found["body.weight_hh_l1"]
    assert found["body.weight_hh_l0"][1] < 8


def test_the_report_tells_the_measured_time() -> None:
    applied = by_time(models.program("mlp"), profile(layers_0=1e-6, layers_2=98e-6, layers_5=1e-6), ratio=0.4)
    entry = next(entry for entry in applied.layers if entry.layer == "layers.2")
    assert entry.seconds == 98e-6
    assert entry.bytes_after < entry.bytes_before  # type: ignore[operator]
    assert "for the time measured" in entry.reason


def test_the_profile_is_asked_for_and_missed() -> None:
    assert Prune(scope="time").wants_profile()
    assert not Prune().wants_profile()
    with pytest.raises(InternalError, match="without a profile"):
        prune(models.program("mlp"), scope="time")


# --- ratios by layer ---


def test_layers_get_ratios_by_name_and_pattern() -> None:
    applied = prune(models.program("residual_cnn"), ratio=0.5, layers={"blocks.*.conv1": 0.25, "stem.*": 0.0})
    found = shapes(applied)
    assert found["blocks.0.conv1.weight"][0] == 12
    assert found["stem.0.weight"][0] == 16
    assert found["blocks.2.conv2.weight"][0] == 16
    assert "`layers` gives it the ratio 0" in treatment(applied, "stem.0")[1]


def test_the_smallest_of_several_ratios_counts_for_layers_made_together() -> None:
    found = shapes(prune(models.program("residual_cnn"), layers={"stem.0": 0.75, "blocks.0.conv2": 0.25}))
    assert found["stem.0.weight"][0] == 12


def test_named_layers_are_left_out_of_a_global_ranking() -> None:
    found = shapes(prune(models.program("mlp"), scope="global", ratio=0.5, layers={"layers.0": 0.0}))
    assert found["layers.0.weight"][0] == 64
    assert 30 <= found["layers.2.weight"][0] <= 34


def test_a_pattern_that_names_no_layer_is_refused() -> None:
    assert PrunePass().requires(models.program("mlp"), Prune(layers={"encoder.*": 0.3})) == [
        "`layers` names 'encoder.*', which matches no layer of this model. "
        "Its layers are: layers.0, layers.2, layers.5."
    ]


# --- the loss ---


def useless_half() -> tuple[Net, torch.Tensor]:
    """Channels 0 to 3 have the larger weights, and are made of inputs that are always zero."""
    torch.manual_seed(0)
    net = Net(lambda n, x: n.out(n.up(x)).mean(1), up=nn.Linear(6, 8, bias=False), out=nn.Linear(8, 3))
    data = torch.randn(48, 5, 6)
    data[..., 3:] = 0.0
    with torch.no_grad():
        net.get_parameter("up.weight")[:4, :3] = 0.0
        net.get_parameter("up.weight")[:4, 3:] = 5.0
    return net, data


def test_taylor_removes_what_does_not_change_the_loss() -> None:
    net, data = useless_half()
    program = export(net, data[:4])
    targets = torch.tensor([0, 1, 2]).repeat(16)
    weight = net.get_parameter("up.weight")
    assert torch.equal(dict(by_loss(program, data, targets).program.named_parameters())["up.weight"], weight[4:])
    by_size = dict(prune(program).program.named_parameters())["up.weight"]
    assert not torch.equal(by_size, weight[4:])


@pytest.mark.parametrize(
    "targets", [None, torch.randn(48, 3), torch.zeros(48, dtype=torch.long), torch.full((48,), 7)],
    ids=["none", "numbers", "classes", "classes that do not fit"],
)  # fmt: skip
def test_every_kind_of_target_gives_gradients(targets: torch.Tensor | None) -> None:
    net, data = useless_half()
    program = export(net, data[:4])
    given = dataclasses.replace(context(program), calibration=Samples((data,), targets))
    found = list(gradients(with_own_weights(program), given))
    assert len(found) == 2
    assert all(float(batch["out.weight"].abs().sum()) > 0 for batch in found)


def test_an_unchanged_model_of_tokens_has_gradients_without_labels() -> None:
    program = models.program("encoder")
    given = dataclasses.replace(context(program), calibration=Samples(models.example("encoder", 16), None))
    (found,) = gradients(with_own_weights(program), given)
    assert float(found["qkv.weight"].abs().sum()) > 0


def test_taylor_scores_are_in_one_unit_for_all_layers() -> None:
    """A layer whose channels hardly reach the output loses them before one whose channels do."""
    torch.manual_seed(0)
    net = Net(lambda n, x: n.out(torch.relu(n.a(x))).mean(1) + 1e-3 * n.end(torch.relu(n.b(x))).mean(1),
              a=nn.Linear(6, 8), out=nn.Linear(8, 3), b=nn.Linear(6, 8), end=nn.Linear(8, 3))  # fmt: skip
    data = rows(48)
    found = shapes(by_loss(export(net, data[:4]), data, None, scope="global", ratio=0.4))
    assert found["a.weight"][0] == 8
    assert found["b.weight"][0] <= 2
