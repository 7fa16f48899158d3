"""The parts of a recurrent layer that can't bear few bits: which are found, and what they get instead."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from tests import models
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS
from tests.workers.quantized import THIRD_PARTY, export, quantize, sqnr
from workers.graphs.low_bit import dynamic_source, read_weight
from workers.graphs.onnx_low_bit import lower_low_bit
from workers.passes.base import Applied
from workers.programs import batch_range, save_program

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]

BANDS, STEPS = 8, 6


class Heard(nn.Module):
    """A stack over bands whose power differs by orders of magnitude, with weights that make up for it."""

    def __init__(self, kind: type[nn.RNNBase], layers: int, decades: float) -> None:
        super().__init__()
        self.rnn = kind(BANDS, 48, num_layers=layers, batch_first=True)
        with torch.no_grad():
            self.rnn.weight_ih_l0.mul_(10 * power(decades).reciprocal())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0][:, -1]  # type: ignore[no-any-return]


def power(decades: float) -> torch.Tensor:
    """Of each band."""
    return torch.logspace(0, -decades, BANDS)


@cache
def program(kind: type[nn.RNNBase] = nn.LSTM, layers: int = 2, decades: float = 4.0) -> ExportedProgram:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return export(Heard(kind, layers, decades), heard(3, decades=decades))


def heard(count: int, seed: int = 1, decades: float = 4.0) -> torch.Tensor:
    return torch.randn(count, STEPS, BANDS, generator=torch.Generator().manual_seed(seed)) * power(decades)


def made(given: ExportedProgram, decades: float = 4.0, **settings: Any) -> Applied:
    return quantize(given, heard(40, decades=decades), **{"weights": "int4", **settings})


def stacks(given: ExportedProgram) -> tuple[GraphModule, list[Node]]:
    """Its recurrent calls, in their order."""
    module = given.module(check_guards=False)
    assert isinstance(module, GraphModule)
    return module, [node for node in module.graph.nodes if ".input" in str(node.target)]


def bits(module: GraphModule, call: Node) -> list[int | None]:
    """Of each matrix; `None` if it is float32."""
    matrices = [each for each in call.args[2] if each.meta["val"].dim() == 2]  # type: ignore[union-attr]
    forms = [read_weight(module, each) for each in matrices]
    return [None if form is None else form.bits for form in forms]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_matrix_that_alone_spoils_the_outputs_stays_float_with_the_figures(kind: type[nn.RNNBase]) -> None:
    applied = made(program(kind))
    module, (first, above) = stacks(applied.program)
    assert bits(module, first) == [None, 4]
    assert bits(module, above) == [4, 4]
    reason = applied.layers[0].reason
    assert "weight_ih_l0" in reason
    assert "stays float32: as int4 it alone would leave" in reason
    unprotected = made(program(kind), protect=False)
    x = heard(7, seed=2)
    exact = program(kind).module()(x)
    assert sqnr(exact, applied.program.module()(x)) > sqnr(exact, unprotected.program.module()(x)) + 6


def test_an_input_that_int8_spoils_stays_float_for_the_first_layer_alone() -> None:
    applied = made(program(), weights="int8", activations="dynamic")
    _, (first, above) = stacks(applied.program)
    assert dynamic_source(first.args[0]) is None
    assert dynamic_source(above.args[0]) is not None
    assert "the input of its first layer stays float: int8 with one range would leave" in applied.layers[0].reason
    _, ways = lower_low_bit(applied.program, 1, [heard(3)])
    assert set(ways) == {
        "stored in few bits, computed in float",
        "computed in 8 bits, input and state int8 per call (DynamicQuantizeLSTM)",
    }
    assert batch_range(applied.program) == (1, models.MAX_BATCH)


def test_the_whole_input_stays_float_where_nothing_is_above() -> None:
    applied = made(program(layers=1))
    _, (call,) = stacks(applied.program)
    assert dynamic_source(call.args[0]) is None
    assert "its input stays float: int8 with one range would leave" in applied.layers[0].reason


def test_eight_bits_in_small_groups_are_enough_for_a_milder_matrix() -> None:
    applied = made(program(decades=1.0), decades=1.0, weights="int2")
    module, calls = stacks(applied.program)
    assert bits(module, calls[0])[:2] == [8, 2]
    form = read_weight(module, calls[0].args[2][0])  # type: ignore[index]
    assert form is not None
    assert form.group == 16
    assert "has 8 bits in groups of 16" in applied.layers[0].reason


def test_a_layer_without_sensitive_parts_is_as_without_protection() -> None:
    inputs = models.example("lstm", batch=40, seed=1)
    one, other = (quantize(models.program("lstm"), *inputs, weights="int8", activations="dynamic", protect=on)
                  for on in (True, False))  # fmt: skip
    assert one.layers == other.layers
    assert str(one.program.graph) == str(other.program.graph)


def test_all_is_as_asked_where_protection_is_off() -> None:
    module, (call,) = stacks(made(program(), protect=False).program)
    assert bits(module, call) == [4, 4, 4, 4]
    assert dynamic_source(call.args[0]) is not None


def test_floats_count_among_the_bytes() -> None:
    protected, bare = (made(program(), protect=on).layers[0] for on in (True, False))
    assert protected.bytes_before == bare.bytes_before
    assert protected.bytes_after is not None
    assert bare.bytes_after is not None
    rows = 4 * 48
    codes, scales = rows * BANDS // 2, 4 * rows
    assert protected.bytes_after - bare.bytes_after == 4 * rows * BANDS - codes - scales


def test_the_same_inputs_give_the_same_bytes_and_the_given_program_stays(tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in program().state_dict.items()}
    for name in ("one", "two"):
        save_program(made(program(), rounding="gptq", bias_correction=True).program, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert all(torch.equal(tensor, before[name]) for name, tensor in program().state_dict.items())
