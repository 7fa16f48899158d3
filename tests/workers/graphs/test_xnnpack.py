"""Quantized programs for XNNPACK: what they are made of, and that they compute what they did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from tests import models
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS
from tests.workers.quantized import THIRD_PARTY, export, quantize, quantized, random, sqnr
from workers.graphs.xnnpack import ForXnnpack, for_xnnpack, xnnpack_refusal
from workers.programs import tracing_inputs

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]

ops = torch.ops.quantized_decomposed
DYNAMIC = {"activations": "dynamic"}


class Net(nn.Module):
    """Layers by name, and a function of them and the input."""

    def __init__(self, compute: Callable[[Any, torch.Tensor], torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.compute = compute
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.compute(self, x)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


def rounded(make: Callable[[], nn.Module], *shape: int, **settings: Any) -> ExportedProgram:
    """A model after `quantize`, calibrated on 64 samples of that shape."""
    return quantize(export(seeded(make), random(4, *shape)), random(64, *shape), **settings).program


def made(program: ExportedProgram) -> ForXnnpack:
    return for_xnnpack(program, tracing_inputs(program))


def both(program: ExportedProgram, *shape: int, batch: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """What the program and its form for XNNPACK compute."""
    x = random(batch, *shape)
    with torch.no_grad():
        return program.module()(x), made(program).program.module()(x)


def calls(program: ExportedProgram, target: object) -> list[Node]:
    return [node for node in program.graph.nodes if node.target is target]


def ways(program: ExportedProgram) -> str:
    return " ".join(made(program).notes)


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3))


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(100, 64), nn.GELU(), nn.Linear(64, 8))


def test_a_float_program_comes_back_itself() -> None:
    program = models.program("mlp")
    assert made(program).program is program
    assert xnnpack_refusal(program) is None


def test_static_int8_becomes_signed_to_the_bit() -> None:
    program = rounded(convolutions, 3, 8, 8)
    before, after = both(program, 3, 8, 8)
    assert torch.equal(before, after)
    found = [*calls(made(program).program, ops.quantize_per_tensor.default)]
    assert len(found) == len(calls(program, ops.quantize_per_tensor.default)) == 4
    assert {(*node.args[3:6],) for node in found} == {(-128, 127, torch.int8)}


def test_the_program_that_came_in_stays_as_it_was() -> None:
    program = rounded(convolutions, 3, 8, 8)
    before = str(program.graph)
    made(program)
    assert str(program.graph) == before


def test_a_linear_layer_that_gives_floats_rounds_the_tensor_behind_its_fixed_rounding() -> None:
    program = rounded(dense, 100)
    changed = made(program)
    assert not calls(changed.program, ops.quantize_per_tensor.default)
    sources = [node.args[0] for node in calls(changed.program, ops.quantize_per_token.default)]
    assert [str(source) for source in sources] == ["input", "gelu"]
    assert "2 linear layer(s)" in ways(program)
    before, after = both(program, 100)
    assert sqnr(before, after) > 35


def test_a_linear_layer_behind_one_in_int8_rounds_what_that_gives() -> None:
    program = rounded(lambda: nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4)), 20)
    changed = made(program).program
    (dynamic,) = calls(changed, ops.quantize_per_token.default)
    assert isinstance(dynamic.args[0], Node)
    assert dynamic.args[0].target is ops.dequantize_per_tensor.default
    assert len(calls(changed, ops.quantize_per_tensor.default)) == 2


def test_dropout_at_rest_does_not_part_a_layer_from_its_rounding() -> None:
    program = quantized("mlp").program
    assert len(calls(made(program).program, ops.quantize_per_token.default)) == 1


def test_a_concatenation_reads_what_it_gives_in_one_scale() -> None:
    def joined() -> nn.Module:
        return Net(
            lambda n, x: n.out(torch.cat([n.first(x).relu(), n.second(x)], 1)),
            first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(3, 4, 3), out=nn.Conv2d(8, 4, 1),
        )  # fmt: skip

    program = rounded(joined, 3, 8, 8)
    (join,) = calls(made(program).program, torch.ops.aten.cat.default)
    (rounding,) = join.users
    assert rounding.target is ops.quantize_per_tensor.default
    assert {source.args[1:] for source in join.all_input_nodes} == {rounding.args[1:]}
    before, after = both(program, 3, 8, 8)
    assert torch.equal(before, after)


def test_a_bias_beside_weights_of_zero_fits_in_int32() -> None:
    def emptied() -> nn.Module:
        layer = nn.Conv2d(3, 4, 3)
        with torch.no_grad():
            layer.weight[1] = 0.0
            layer.bias[1] = 100.0
        return layer

    program = rounded(emptied, 3, 8, 8)
    changed = made(program).program
    (weight,) = calls(changed, ops.dequantize_per_channel.default)
    (source, *_) = calls(changed, ops.dequantize_per_tensor.default)
    assert isinstance(weight.args[1], Node)
    scales = changed.module(check_guards=False).get_buffer(str(calls_name(changed, weight.args[1])))
    assert isinstance(source.args[1], float)
    assert 100.0 / (float(scales[1]) * source.args[1]) <= 2**30 * 1.001
    before, after = both(program, 3, 8, 8)
    assert torch.equal(before, after)


def calls_name(program: ExportedProgram, node: Node) -> str:
    """The name under which the program stores what an input of its graph stands for."""
    return program.graph_signature.inputs_to_buffers[node.name]


def test_a_layer_that_gives_nothing_but_zeros_has_a_scale_that_products_fit() -> None:
    def dead() -> nn.Module:
        layer = nn.Conv2d(3, 4, 3)
        nn.init.constant_(layer.bias, -50.0)
        return nn.Sequential(layer, nn.ReLU(), nn.Conv2d(4, 4, 3))

    program = rounded(dead, 3, 8, 8)
    old, new = (calls(each, ops.quantize_per_tensor.default)[1].args[1] for each in (program, made(program).program))
    assert isinstance(old, float)
    assert isinstance(new, float)
    assert old < 2e-7 < new
    before, after = both(program, 3, 8, 8)
    assert torch.equal(before, after)


def test_a_summand_far_smaller_than_the_sum_is_rounded_more_coarsely() -> None:
    def uneven() -> nn.Module:
        net = Net(lambda n, x: n.out(n.first(x) + n.second(x)),
                  first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(3, 4, 3), out=nn.Conv2d(4, 4, 1))  # fmt: skip
        with torch.no_grad():
            for parameter in net.second.parameters():
                parameter *= 1e-6
        return net

    program = rounded(uneven, 3, 8, 8)
    (addition,) = calls(made(program).program, torch.ops.aten.add.Tensor)
    (rounding,) = addition.users
    ratios = [float(source.args[1]) / float(rounding.args[1]) for source in addition.all_input_nodes]  # type: ignore[arg-type]
    assert min(ratios) == pytest.approx(2**-9)
    before, after = both(program, 3, 8, 8)
    assert sqnr(before, after) > 40


@pytest.mark.parametrize("weights", ["int8", "int4", "int3", "int2"])
def test_rows_with_one_scale_lose_nothing(weights: str) -> None:
    program = rounded(lambda: nn.Linear(32, 64), 32, weights=weights, activations="dynamic")
    before, after = both(program, 32)
    assert sqnr(before, after) > 120
    assert f"In int8, weights held in {8 if weights == 'int8' else 4} bits: " in ways(program)


@pytest.mark.parametrize(("weights", "least"), [("int4", 25.0), ("int3", 120.0), ("int2", 120.0)])
def test_groups_lose_only_the_code_that_has_no_counterpart(weights: str, least: float) -> None:
    program = rounded(lambda: nn.Linear(128, 64), 128, weights=weights, group=32)
    before, after = both(program, 128)
    assert sqnr(before, after) > least
    assert ("rounded again" in ways(program)) == (weights == "int4")


def test_columns_that_fill_the_last_group_meet_zeros_of_the_input() -> None:
    program = rounded(lambda: nn.Linear(100, 64), 100, weights="int3", group=32)
    changed = made(program).program
    (pad,) = calls(changed, torch.ops.aten.constant_pad_nd.default)
    assert pad.meta["val"].shape[-1] == 128
    before, after = both(program, 100)
    assert sqnr(before, after) > 120


def test_layers_that_read_one_tensor_share_its_rounding() -> None:
    def shared() -> nn.Module:
        return Net(lambda n, x: n.first(x) + n.second(x), first=nn.Linear(100, 8), second=nn.Linear(100, 8))

    changed = made(rounded(shared, 100, weights="int4", group=32)).program
    assert len(calls(changed, torch.ops.aten.constant_pad_nd.default)) == 1
    assert len(calls(changed, ops.quantize_per_token.default)) == 1


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"weights": "int4", "symmetric": False}, "no zero points"),
        ({"weights": "int4", "group": 16}, "groups of 32"),
        ({"weights": "int8", "group": 32, **DYNAMIC}, "leave `group` out"),
        ({"weights": "int4", "activations": "float32"}, "`activations: dynamic`"),
        ({"weights": "fp8"}, "no kernel for fp8"),
        ({"weights": "nf4"}, "no kernel for nf4"),
    ],
    ids=["zero points", "groups of 16", "groups of int8", "float inputs", "fp8", "nf4"],
)
def test_weights_without_a_kernel_are_widened_and_refused_where_all_are(settings: dict[str, Any], reason: str) -> None:
    program = rounded(dense, 100, **settings)
    assert reason in str(xnnpack_refusal(program))
    changed = made(program).program
    assert reason in ways(program)
    assert not any(str(node.target).startswith("quantized_decomposed.") for node in changed.graph.nodes)
    assert not calls(changed, torch.ops.aten.index.Tensor)
    before, after = both(program, 100)
    assert sqnr(before, after) > 35


def test_other_layers_are_widened_and_named_beside_one_in_integers() -> None:
    def mixed() -> nn.Module:
        return Net(
            lambda n, x: n.out(n.recurrent(n.kernel(x.transpose(1, 2)).transpose(1, 2))[0][:, -1]),
            kernel=nn.Conv1d(6, 8, 3), recurrent=nn.LSTM(8, 16, batch_first=True), out=nn.Linear(16, 4),
        )  # fmt: skip

    program = rounded(mixed, 12, 6, **DYNAMIC)
    assert xnnpack_refusal(program) is None
    assert "no kernel for lstm with weights of few bits): recurrent" in ways(program)
    assert "no kernel for conv1d with weights of few bits): kernel" in ways(program)
    assert "In int8, weights held in 8 bits: out." in ways(program)


def test_a_table_that_is_also_a_linear_layer_is_widened_for_its_look_up_alone() -> None:
    def tied() -> nn.Module:
        net = Net(lambda n, x: n.out(n.table(x).mean(1)), table=nn.Embedding(50, 32), out=nn.Linear(32, 50))
        net.out.weight = net.table.weight
        return net

    tokens = torch.randint(0, 50, (64, 12), generator=torch.Generator().manual_seed(0))
    program = quantize(export(seeded(tied), tokens[:4]), tokens, weights="int4", group=32, embeddings=True).program
    assert "no kernel for embedding" in ways(program)
    assert "In int8" in ways(program)
    assert len(calls(made(program).program, ops.dequantize_per_channel.default)) == 1


def test_a_layer_whose_bias_is_computed_is_widened() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(input, self.weight, self.bias * 2)

    program = rounded(lambda: Doubled(20, 8), 20)
    assert "bias is computed" in str(xnnpack_refusal(program))
    assert not calls(made(program).program, ops.dequantize_per_channel.default)


@pytest.mark.parametrize("name", ["residual_cnn", "depthwise_cnn", "concat_cnn", "encoder", "lstm"])
def test_the_shared_models_compute_what_they_did(name: str) -> None:
    program = quantized(name).program
    x = models.example(name, batch=16, seed=2)
    with torch.no_grad():
        assert sqnr(program.module()(*x), made(program).program.module()(*x)) > 38
