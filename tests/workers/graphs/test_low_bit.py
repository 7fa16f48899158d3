"""The low-bit form of weights: written, read back, computed, exported and saved."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule, Node

from workers.graphs.low_bit import LowBitWeight, dynamic_source, read_weight, round_input, write_weight
from workers.graphs.reexport import reexport
from workers.programs import load_program, save_program


def exported(module: nn.Module, *example: torch.Tensor) -> ExportedProgram:
    shapes = tuple({0: Dim("batch", min=1, max=64)} for _ in example)
    return torch.export.export(module.eval(), example, dynamic_shapes=shapes)


def editable(program: ExportedProgram) -> GraphModule:
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    return module


def rounded(weight: torch.Tensor, bits: int, group: int, symmetric: bool = True) -> LowBitWeight:
    """Nearest rounding, for these tests."""
    rows = weight.detach().flatten(1)
    columns = -(-rows.shape[1] // group) * group
    grouped = torch.nn.functional.pad(rows, (0, columns - rows.shape[1])).reshape(len(rows), -1, group)
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    zeros = None
    if symmetric:
        scales = (grouped.abs().amax(2) / most).clamp(min=1e-8)
        codes = (grouped / scales[..., None]).round().clamp(least, most)
    else:
        low, high = grouped.amin(2).clamp(max=0), grouped.amax(2).clamp(min=0)
        scales = ((high - low) / (most - least)).clamp(min=1e-8)
        zeros = (least - low / scales).round().to(torch.int32)
        codes = (grouped / scales[..., None] + zeros[..., None]).round().clamp(least, most)
    return LowBitWeight(codes.reshape(len(rows), -1).to(torch.int8), scales, zeros, bits, group, tuple(weight.shape))


def weight_node(module: GraphModule, name: str) -> Node:
    found: Node = next(node for node in module.graph.nodes if node.op == "get_attr" and node.target == name)
    return found


LAYERS = {
    "linear": (nn.Linear(24, 5), (24,), "weight"),
    "conv2d": (nn.Conv2d(3, 8, 3), (3, 8, 8), "weight"),
    "grouped": (nn.Conv1d(4, 8, 3, groups=2), (4, 9), "weight"),
}


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_written_is_read_again_and_computed(name: str, bits: int, symmetric: bool, tmp_path: Path) -> None:
    layer, shape, attribute = LAYERS[name]
    program = exported(layer, torch.randn(2, *shape))
    module = editable(program)
    weight = rounded(getattr(layer, attribute), bits, 16, symmetric)
    user = next(iter(weight_node(module, attribute).users))
    write_weight(module, weight_node(module, attribute), weight)
    found = read_weight(module, user.args[1])
    assert found is not None
    assert (found.bits, found.group, found.shape) == (bits, 16, weight.shape)
    assert torch.equal(found.codes, weight.codes)
    assert torch.equal(found.dequantized(), weight.dequantized())

    again = reexport(module, program, [torch.randn(2, *shape)])
    save_program(again, tmp_path / "program.pt2")
    loaded = load_program(tmp_path / "program.pt2").module()
    reference = copy.deepcopy(layer)
    reference.weight.data = weight.dequantized()
    for batch in (1, 7):
        x = torch.randn(batch, *shape)
        torch.testing.assert_close(loaded(x), reference(x))


def test_a_float_weight_has_no_low_bit_form() -> None:
    module = editable(exported(nn.Linear(4, 4), torch.randn(2, 4)))
    assert read_weight(module, weight_node(module, "weight")) is None


def test_each_row_of_a_rounded_input_has_its_own_range() -> None:
    program = exported(nn.Linear(8, 8, bias=False), torch.randn(2, 3, 8))
    module = editable(program)
    layer = next(node for node in module.graph.nodes if node.target is torch.ops.aten.linear.default)
    source = layer.args[0]
    node = round_input(module, layer)
    assert dynamic_source(node) is source
    assert dynamic_source(source) is None
    again = reexport(module, program, [torch.randn(2, 3, 8)]).module()
    x = torch.randn(5, 3, 8)
    x[0, 0] *= 1000
    wanted, given = program.module()(x), again(x)
    error = (wanted - given).norm(dim=-1) / wanted.norm(dim=-1)
    assert 0 < error.max() < 0.05


def test_layers_that_read_one_tensor_share_its_rounding() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + self.b(x)  # type: ignore[no-any-return]

    module = editable(exported(Two(), torch.randn(2, 8)))
    layers = [node for node in module.graph.nodes if node.target is torch.ops.aten.linear.default]
    assert round_input(module, layers[0]) is round_input(module, layers[1])
