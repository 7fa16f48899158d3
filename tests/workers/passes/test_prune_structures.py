"""Structured pruning of recurrent, attention and language models: exact, at any batch size, the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.workers.passes.coupled_nets import Net, export, image, prune, rows, zero_half
from tests.workers.passes.pruned_models import MODELS, HandWritten, Recurrent, TransformerLayer, tokens
from workers.passes.base import Applied
from workers.passes.coupling import couple
from workers.programs import save_program

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""Sums are taken over fewer terms and so in another order; float32."""


def shapes(applied: Applied) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in applied.program.named_parameters()}


# torch's kernels say so of projections, which they compute by other code.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", MODELS)
def test_removing_what_has_zero_weights_leaves_the_outputs(name: str) -> None:
    make, inputs = MODELS[name]
    torch.manual_seed(0)
    module = make().eval()
    program, zeroed = zero_half(module, inputs(4))
    applied = prune(program)
    assert applied.figures["channels_removed"] == zeroed
    for batch in (1, 3, 7):
        torch.testing.assert_close(applied.program.module()(inputs(batch)), module(inputs(batch)), **CLOSE)


def test_the_same_bytes_come_out_twice(tmp_path: Path) -> None:
    make, inputs = MODELS["LSTM of two layers and both directions, last states"]
    torch.manual_seed(0)
    program = export(make(), inputs(4))
    for file in ("one", "two"):
        save_program(prune(program).program, tmp_path / file)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_unit_takes_a_row_of_every_gate_and_a_column_of_the_recurrent_weight() -> None:
    found = shapes(prune(export(Recurrent(nn.GRU, "last output"), rows(4)), ratio=0.25))
    assert found["body.weight_ih_l0"] == [3 * 6, 6]
    assert found["body.weight_hh_l0"] == [3 * 6, 6]
    assert found["head.weight"] == [3, 6]


def test_layers_and_directions_choose_their_own_units_and_keep_the_same_number() -> None:
    torch.manual_seed(0)
    module = Recurrent(nn.LSTM, "last of both", num_layers=2, bidirectional=True)
    # Units 0 to 3 of the forward direction of the first layer, and 4 to 7 of all others, matter most.
    with torch.no_grad():
        for name, tensor in module.body.named_parameters():
            if tensor.dim() == 2:
                tensor.view(4, 8, -1)[:, slice(0, 4) if name.endswith("_l0") else slice(4, 8)] *= 100
    parameters = dict(prune(export(module, rows(4))).program.named_parameters())
    weight = dict(module.body.named_parameters())
    for name in ("weight_ih_l0", "weight_ih_l0_reverse"):
        kept = slice(0, 4) if name.endswith("_l0") else slice(4, 8)
        assert torch.equal(parameters[f"body.{name}"], weight[name].view(4, 8, -1)[:, kept].reshape(16, -1))
    assert parameters["body.weight_ih_l1"].shape == (16, 8)


def test_heads_go_and_keep_their_size() -> None:
    found = shapes(prune(export(HandWritten(), rows(4)), layers={"up": 0.0, "gate": 0.0}))
    assert found["q.weight"] == found["k.weight"] == found["v.weight"] == [8, 16]
    assert found["o.weight"] == [16, 8]


def test_heads_that_share_keys_go_with_them() -> None:
    coupling = couple(export(HandWritten(heads=4, shared=2), rows(4)))
    heads = next(group for group in coupling.groups if group.width == 4)
    assert len(heads.classes) == 2


def test_an_rms_norm_counts_removed_channels_as_zeros() -> None:
    torch.manual_seed(0)
    net = Net(lambda n, x: n.out(n.norm(n.up(x))), up=nn.Linear(6, 8), norm=nn.RMSNorm(8, eps=0.1), out=nn.Linear(8, 3))
    applied = prune(zero_half(net, rows(4))[0])
    assert shapes(applied)["norm.weight"] == [4]
    torch.testing.assert_close(applied.program.module()(rows(3)), net(rows(3)), **CLOSE)


def test_a_norm_without_weights_is_scaled_behind_it() -> None:
    net = Net(
        lambda n, x: n.out(nn.functional.rms_norm(n.up(x), (8,), None, 0.1)), up=nn.Linear(6, 8), out=nn.Linear(8, 3)
    )
    applied = prune(zero_half(net, rows(4))[0])
    torch.testing.assert_close(applied.program.module()(rows(3)), net(rows(3)), **CLOSE)


def test_layer_norm_rescale_is_exact_where_the_mean_is_zero() -> None:
    torch.manual_seed(0)
    net = Net(lambda n, x: n.out(n.norm(n.up(x))), up=nn.Linear(6, 8), norm=nn.LayerNorm(8), out=nn.Linear(8, 3))
    with torch.no_grad():  # channels 0 to 3 are small, and of the others each two add up to zero
        net.get_parameter("up.weight")[[5, 7]] = -net.get_parameter("up.weight")[[4, 6]]
        net.get_parameter("up.bias")[[5, 7]] = -net.get_parameter("up.bias")[[4, 6]]
        for name in ("up.weight", "up.bias", "norm.weight"):
            net.get_parameter(name)[:4] = 0.0
        net.get_parameter("out.weight")[:, :4] = 0.0
    program = export(net, rows(4))
    assert not prune(program).changed
    applied = prune(program, layer_norm="rescale")
    assert shapes(applied)["norm.weight"] == [4]
    torch.testing.assert_close(applied.program.module()(rows(3)), net(rows(3)), **CLOSE)


def test_layer_norm_rescale_lets_the_residual_stream_shrink() -> None:
    applied = prune(export(TransformerLayer(), rows(4)), layer_norm="rescale")
    assert shapes(applied)["up.weight"] == [8, 6]
    assert applied.program.module()(rows(3)).shape == (3, 3)


def test_a_group_norm_loses_whole_groups() -> None:
    net = Net(
        lambda n, x: n.out(n.norm(n.up(x))), up=nn.Conv2d(6, 8, 1), norm=nn.GroupNorm(4, 8), out=nn.Conv2d(8, 3, 1)
    )
    coupling = couple(export(net, image(4)))
    assert [(len(group.classes), group.width) for group in coupling.groups] == [(4, 2)]


def test_a_picked_channel_stays_and_its_number_follows() -> None:
    picked = Net(
        lambda n, x: n.out(n.up(x)) * n.up(x).select(-1, 5).unsqueeze(-1), up=nn.Linear(6, 8), out=nn.Linear(8, 3)
    )
    program, _ = zero_half(picked, rows(4))
    applied = prune(program, ratio=3 / 7)
    assert shapes(applied)["up.weight"][0] < 8
    torch.testing.assert_close(applied.program.module()(rows(3)), picked(rows(3)), **CLOSE)


def test_a_language_model_keeps_its_embedding_and_output_layer_one_tensor() -> None:
    make, _ = MODELS["tied language model"]
    applied = prune(export(make(), tokens(4)))
    rows_of = [tensor for name, tensor in applied.program.named_parameters() if name in ("embed.weight", "out.weight")]
    assert len({id(tensor) for tensor in rows_of}) == 1
    assert rows_of[0].shape == (12, 8)


def test_two_layers_that_start_from_the_same_zeros_may_differ_in_size() -> None:
    def compute(net: Net, x: torch.Tensor) -> torch.Tensor:
        start = torch.zeros(1, x.shape[0], 8)
        return net.head(net.two(net.one(x, start)[0], start)[0][:, -1])  # type: ignore[no-any-return]

    net = Net(compute, one=nn.GRU(6, 8, batch_first=True), two=nn.GRU(8, 8, batch_first=True), head=nn.Linear(8, 3))
    found = shapes(prune(export(net, rows(4)), layers={"one": 0.5, "two": 0.25}))
    assert found["one.weight_hh_l0"] == [12, 4]
    assert found["two.weight_hh_l0"] == [18, 6]


@pytest.mark.parametrize(
    ("name", "layer", "left"),
    [
        ("attention over reduced keys", "kv2.weight", [16, 8]),
        ("attention whose parts are unbound", "qk.weight", [8, 6]),
        ("global response norm", "up.weight", [8, 6]),
    ],
)
def test_channels_go_where_several_tensors_have_to_lose_them_together(name: str, layer: str, left: list[int]) -> None:
    make, inputs = MODELS[name]
    assert shapes(prune(export(make(), inputs(4)), ratio=0.5))[layer] == left
