"""Unstructured and 2:4 pruning: how many zeros, where, what they cost, and that they last."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.passes import Distill, Prune
from tests import models
from tests.workers.passes.coupled_nets import NETS, Net, export, image, rows
from tests.workers.passes.pruned_models import MODELS, tokens
from workers.passes.base import Applied, PassContext, Samples
from workers.passes.distill import DistillPass
from workers.passes.kept_zeros import KeptZeros
from workers.passes.prune import PrunePass
from workers.programs import save_program


def context(program: ExportedProgram, *inputs: torch.Tensor, targets: torch.Tensor | None = None) -> PassContext:
    return PassContext(
        original=program,
        calibration=Samples(inputs, targets),
        seed=0,
        max_batch=64,
        progress=lambda share, what: None,
    )


def prune(
    program: ExportedProgram, inputs: torch.Tensor, targets: torch.Tensor | None = None, **settings: object
) -> Applied:
    made = Prune.model_validate({"kind": "unstructured", **settings})
    assert PrunePass().requires(program, made) == []
    return PrunePass().apply(program, made, context(program, inputs, targets=targets))


def weights(applied: Applied) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in applied.program.named_parameters() if tensor.dim() > 1}


def zeros(tensor: torch.Tensor) -> float:
    return float((tensor == 0).double().mean())


def treatment(applied: Applied, layer: str) -> tuple[str, str]:
    return next((entry.treatment, entry.reason) for entry in applied.layers if entry.layer == layer)


@pytest.mark.parametrize(
    ("name", "method"),
    [("residual_cnn", "magnitude"), ("depthwise_cnn", "sparsegpt"), ("encoder", "sparsegpt"), ("encoder", "taylor")],
)
def test_every_layer_gets_the_share_of_zeros(name: str, method: str) -> None:
    program = models.program(name)
    applied = prune(program, *models.example(name, 16), ratio=0.6, method=method)
    layers = {entry.layer for entry in applied.layers if entry.treatment != "left alone"}
    found = {name: tensor for name, tensor in weights(applied).items() if name.removesuffix(".weight") in layers}
    assert len(found) >= 4
    assert all(abs(zeros(tensor) - 0.6) < 0.03 for tensor in found.values()), {k: zeros(v) for k, v in found.items()}
    for batch in (1, 3, 7):
        applied.program.module()(*models.example(name, batch))


def test_magnitude_removes_the_smallest() -> None:
    program = models.program("mlp")
    pruned = weights(prune(program, *models.example("mlp"), ratio=0.25))["layers.2.weight"]
    before = dict(program.named_parameters())["layers.2.weight"]
    assert before[pruned == 0].abs().max() <= pruned[pruned != 0].abs().min()


def test_global_scope_ranks_all_layers_together() -> None:
    module = models.module("mlp")
    with torch.no_grad():
        module.layers[0].weight *= 0.001
    found = weights(prune(export(module, *models.example("mlp")), *models.example("mlp"), ratio=0.2, scope="global"))
    assert zeros(found["layers.0.weight"]) > 0.85
    assert zeros(found["layers.2.weight"]) < 0.05


def test_layers_set_ratios_of_their_own() -> None:
    applied = prune(models.program("mlp"), *models.example("mlp"), layers={"layers.0": 0.0, "layers.[25]": 0.25})
    found = weights(applied)
    assert [zeros(found[f"layers.{n}.weight"]) for n in (0, 2, 5)] == [0.0, 0.25, 0.25]
    assert treatment(applied, "layers.0") == ("left alone", "`layers` gives it the ratio 0")


def test_a_pattern_that_names_no_layer_is_refused() -> None:
    reasons = PrunePass().requires(models.program("mlp"), Prune(kind="unstructured", layers={"layer.0": 0.1}))
    assert reasons == [
        "`layers` names 'layer.0', which matches no layer of this model. Its layers are: layers.0, layers.2, layers.5."
    ]


def test_a_model_without_weights_to_prune_is_refused() -> None:
    net = Net(lambda n, x: n.up(x).softmax(-1), up=nn.Embedding(12, 8))
    assert PrunePass().requires(export(net, tokens(4)), Prune(kind="unstructured")) == [
        "No weight of this model can be pruned: up: embedding multiplies nothing by it: zeros would save neither time "
        "nor, in most formats, room. Leave `prune` out of the recipe."
    ]


def test_what_multiplies_by_a_matrix_without_being_a_layer_is_named() -> None:
    net = Net(lambda n, x: n.out(n.both(x.mean(1), x.mean(1))), both=nn.Bilinear(6, 6, 8), out=nn.Linear(8, 3))
    data = torch.randn(16, 5, 6)
    assert treatment(prune(export(net, data[:4]), data), "both") == (
        "left alone",
        "bilinear is none of the layers that are pruned: linear, products of matrices, convolutions, recurrent ones",
    )


def test_sparsegpt_is_closer_to_the_outputs_than_magnitude() -> None:
    torch.manual_seed(0)
    net = Net(lambda n, x: n.out(torch.relu(n.up(x))).mean((2, 3)),
              up=nn.Conv2d(6, 32, 3, padding=1), out=nn.Conv2d(32, 3, 3))  # fmt: skip
    # Neighbouring channels are alike, so that one can make up for another.
    data = image(64) + 2 * image(64).mean(1, keepdim=True)
    program = export(net, data[:4])
    errors = {}
    for method in ("magnitude", "sparsegpt"):
        pruned = prune(program, data, method=method).program.module()
        errors[method] = float((pruned(data) - net(data)).detach().square().mean())
    assert errors["sparsegpt"] < 0.5 * errors["magnitude"]


def test_taylor_keeps_what_changes_the_loss() -> None:
    torch.manual_seed(0)
    net = Net(lambda n, x: n.out(n.up(x).mean(1)), up=nn.Linear(6, 8), out=nn.Linear(8, 3))
    data = torch.randn(32, 5, 6)
    data[..., :3] = 0.0  # weights on these inputs are large, and change nothing
    with torch.no_grad():
        net.get_parameter("up.weight")[:, :3] += 10.0
    found = weights(prune(export(net, data[:4]), data, torch.randn(32, 3), method="taylor"))["up.weight"]
    assert (found[:, :3] == 0).all()
    assert (found[:, 3:] != 0).all()


@pytest.mark.parametrize("method", ["magnitude", "taylor", "sparsegpt"])
def test_two_of_four_inputs_are_zero(method: str) -> None:
    applied = prune(models.program("residual_cnn"), *models.example("residual_cnn"), kind="2:4", method=method)
    found = weights(applied)
    for name in ("blocks.1.conv1.weight", "head.weight"):
        tensor = found[name]
        fours = tensor.movedim(1, -1).reshape(-1, 4)
        assert ((fours == 0).sum(1) == 2).all()
    assert treatment(applied, "head")[0] == "2 of 4 zero"
    assert (
        "sparse tensor cores of CUDA from Ampere on by `inductor`, if half precision" in treatment(applied, "head")[1]
    )


def test_layers_that_two_of_four_does_not_fit_are_left_alone() -> None:
    applied = prune(models.program("depthwise_cnn"), *models.example("depthwise_cnn"), kind="2:4")
    assert treatment(applied, "features.3") == (
        "left alone", "it has 1 inputs per output, which is no multiple of 4",
    )  # fmt: skip


def test_recurrent_weights_are_pruned_by_magnitude_and_left_alone_by_sparsegpt() -> None:
    program = models.program("lstm")
    found = weights(prune(program, *models.example("lstm")))
    assert zeros(found["lstm.weight_hh_l0"]) == 0.5
    left = prune(program, *models.example("lstm"), method="sparsegpt")
    assert treatment(left, "lstm.weight_hh_l0")[1].startswith("sparsegpt has no rule for lstm")


def test_shared_weights_are_pruned_as_one() -> None:
    make, inputs = NETS["tied weights"]
    program = export(make(), inputs(4))
    assert {zeros(tensor) for name, tensor in weights(prune(program, inputs(4))).items()} == {0.5}
    left = prune(program, inputs(4), method="sparsegpt")
    assert (
        treatment(left, "second")[1] == "several calls share its weights, and sparsegpt fits them to the inputs of one"
    )


def test_an_embedding_that_is_the_output_layer_too_is_left_alone() -> None:
    make, inputs = MODELS["tied language model"]
    applied = prune(export(make(), inputs(4)), inputs(4))
    assert treatment(applied, "out")[0] == "left alone"
    assert treatment(applied, "up")[0] == "50.0% zeros"


def test_the_report_counts_zeros_and_what_compression_makes_of_them() -> None:
    applied = prune(models.program("mlp"), *models.example("mlp"), ratio=0.75)
    figures = applied.figures
    assert figures["zeros"] / figures["weights"] == pytest.approx(0.75, abs=0.01)
    assert figures["compressed_bytes_after"] < 0.6 * figures["compressed_bytes_before"]
    assert "no backend runs it faster" in treatment(applied, "layers.0")[1]


@pytest.mark.parametrize("settings", [
    {"method": "sparsegpt"}, {"method": "taylor"}, {"schedule": {"steps": 2}}, {"kind": "2:4", "method": "sparsegpt"}],
    ids=["sparsegpt", "taylor", "schedule", "2:4"],
)  # fmt: skip
def test_the_same_bytes_come_out_twice(settings: dict[str, object], tmp_path: Path) -> None:
    for file in ("one", "two"):
        applied = prune(models.program("concat_cnn"), *models.example("concat_cnn", 16), **settings)
        save_program(applied.program, tmp_path / file)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_is_pruned_already_is_handed_back() -> None:
    once = prune(models.program("mlp"), *models.example("mlp"))
    again = prune(once.program, *models.example("mlp"))
    assert again.why_unchanged == "As many weights as asked for are zero already."
    assert not again.changed


def test_the_incoming_program_is_unchanged() -> None:
    program = models.program("mlp")
    before = {name: tensor.clone() for name, tensor in program.state_dict.items()}
    prune(program, *models.example("mlp", 16), schedule={"steps": 2})
    assert all(torch.equal(before[name], tensor) for name, tensor in program.state_dict.items())
    assert [tensor.requires_grad for tensor in program.parameters()] == [True] * 6


@pytest.mark.parametrize("method", ["magnitude", "taylor"])
def test_a_schedule_recovers_and_ends_at_the_ratio(method: str) -> None:
    torch.manual_seed(0)
    data = torch.randn(64, 20)
    program = models.program("mlp")
    settings = {"ratio": 0.75, "method": method}
    gradual = prune(program, data, **settings, schedule={"steps": 3, "epochs": 4, "learning_rate": 0.01})
    at_once = prune(program, data, **settings)
    assert all(zeros(tensor) == 0.75 for tensor in weights(gradual).values())
    wanted = program.module()(data)
    errors = [
        float((applied.program.module()(data) - wanted).detach().square().mean()) for applied in (gradual, at_once)
    ]
    assert errors[0] < 0.7 * errors[1]


def test_distillation_keeps_the_zeros() -> None:
    torch.manual_seed(0)
    data = torch.randn(64, 20)
    program = models.program("mlp")
    pruned = prune(program, data, ratio=0.7).program
    applied = DistillPass().apply(pruned, Distill(epochs=3, learning_rate=0.01), context(program, data))
    assert applied.changed
    before = {name: tensor.detach() for name, tensor in pruned.named_parameters() if tensor.dim() > 1}
    for name, tensor in weights(applied).items():
        assert torch.equal(tensor == 0, before[name] == 0)
        assert not torch.equal(tensor, before[name])


@pytest.mark.parametrize(("gone", "kept"), [(1, 0), (2, 1), (9, 1), (10, 0)])
def test_a_weight_keeps_its_zeros_if_a_fifth_but_not_all_of_it_is_zero(gone: int, kept: int) -> None:
    layer = nn.Linear(10, 1)
    with torch.no_grad():
        layer.weight[0, :gone] = 0.0
        layer.bias.zero_()
    assert len(KeptZeros.of(layer)) == kept


def test_zeros_survive_rows_inputs_of_any_batch() -> None:
    make, inputs = NETS["multi-head attention"]
    applied = prune(export(make(), inputs(4)), inputs(4), method="sparsegpt")
    for batch in (1, 3, 7):
        assert applied.program.module()(rows(batch)).shape == (batch, 5, 3)
