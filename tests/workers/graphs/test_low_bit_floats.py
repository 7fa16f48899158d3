"""The forms of fp8 and nf4: written, read back, computed, exported and saved."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.workers.graphs.test_low_bit import LAYERS, editable, exported, weight_node
from workers.graphs.low_bit_floats import Fp8Weight, Nf4Weight, read_fp8, read_nf4, write_fp8, write_nf4
from workers.graphs.reexport import reexport
from workers.passes.round_floats import round_fp8, round_nf4
from workers.programs import load_program, save_program


@pytest.mark.parametrize("kind", ["fp8", "nf4"])
@pytest.mark.parametrize("name", LAYERS)
def test_what_is_written_is_read_again_and_computed_after_saving(name: str, kind: str, tmp_path: Path) -> None:
    layer, shape, attribute = LAYERS[name]
    program = exported(layer, torch.randn(2, *shape))
    module = editable(program)
    node = weight_node(module, attribute)
    weight: Fp8Weight | Nf4Weight
    if kind == "fp8":
        weight = round_fp8(getattr(layer, attribute).detach())
        write_fp8(module, node, weight)
    else:
        weight = round_nf4(getattr(layer, attribute).detach(), 16)
        write_nf4(module, node, weight)
    save_program(reexport(module, program, [torch.randn(2, *shape)]), tmp_path / "program.pt2")

    loaded = load_program(tmp_path / "program.pt2").module(check_guards=False)
    call = next(each for each in loaded.graph.nodes if str(each.target).startswith(("aten.linear", "aten.conv")))
    found = read_fp8(loaded, call.args[1]) if kind == "fp8" else read_nf4(loaded, call.args[1])
    assert found is not None
    assert torch.equal(found.codes.float(), weight.codes.float())
    assert torch.equal(found.dequantized(), weight.dequantized())
    assert found.dequantized().shape == getattr(layer, attribute).shape
    assert (read_nf4(loaded, call.args[1]) if kind == "fp8" else read_fp8(loaded, call.args[1])) is None

    reference = copy.deepcopy(layer)
    reference.weight.data = weight.dequantized()
    for batch in (1, 7):
        x = torch.randn(batch, *shape)
        torch.testing.assert_close(loaded(x), reference(x))


def test_a_float_weight_has_neither_form() -> None:
    module = editable(exported(nn.Linear(4, 4), torch.randn(2, 4)))
    node = weight_node(module, "weight")
    assert read_fp8(module, node) is None
    assert read_nf4(module, node) is None
