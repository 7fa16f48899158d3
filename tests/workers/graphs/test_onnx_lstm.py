from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from tests.workers.backends.test_onnxruntime_low_bit import check, lowered
from tests.workers.graphs.test_low_bit import rounded
from tests.workers.low_bit_programs import exported, low_bit
from tests.workers.quantized import THIRD_PARTY, random
from workers.graphs.low_bit import LowBitWeight
from workers.graphs.onnx_lstm import on_one_scale

pytestmark = [
    pytest.mark.filterwarnings(warning)
    for warning in (*THIRD_PARTY, "ignore:The tensor attributes self.rnn._flat_weights:UserWarning")
]

HIDDEN, INPUTS = 16, 32


def matrix(least: float = 0.5, bits: int = 8, group: int = INPUTS, symmetric: bool = True) -> LowBitWeight:
    """(4 × hidden, inputs), all rows but the first `least` times as large as that."""
    weight = random(4 * HIDDEN, INPUTS).clamp(-2, 2)
    weight[1:] *= least
    return rounded(weight, bits, group, symmetric)


def test_rows_go_to_the_scale_of_the_largest_within_half_a_step_of_it() -> None:
    found = on_one_scale([matrix()])
    assert found is not None
    step = matrix().scales.max()
    assert torch.equal(found[0].scales, step.expand(4 * HIDDEN, 1))
    assert (found[0].dequantized() - matrix().dequantized()).abs().max() <= 0.501 * step
    again = on_one_scale(found)
    assert again is not None
    assert torch.equal(again[0].codes, found[0].codes)


def test_both_directions_share_or_neither_does() -> None:
    assert on_one_scale([matrix(), matrix()]) is not None
    assert on_one_scale([matrix(), matrix(least=0.01)]) is None


@pytest.mark.parametrize("weight", [matrix(bits=4), matrix(group=16), matrix(symmetric=False)])
def test_what_is_rounded_once_more_anyway_keeps_a_scale_for_each_row(weight: LowBitWeight) -> None:
    assert on_one_scale([weight]) is None


def test_a_matrix_of_zeros_stays_one() -> None:
    found = on_one_scale([rounded(torch.zeros(4 * HIDDEN, INPUTS), 8, INPUTS)])
    assert found is not None
    assert not found[0].codes.any()


class Recurrent(nn.Module):
    """(batch, steps, 32), both directions; one row of the second reads the state with far larger weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(INPUTS, HIDDEN, batch_first=True, bidirectional=True)
        with torch.no_grad():
            self.rnn.weight_hh_l0_reverse[1:] *= 0.01

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0]  # type: ignore[no-any-return]


def test_the_operator_has_one_scale_a_matrix_where_its_rows_share_one(tmp_path: Path) -> None:
    x = random(8, 5, INPUTS)
    program = low_bit(exported(Recurrent(), x), x, bits=8)
    path, _ = lowered(program, tmp_path, x)
    check(program, path, x, "int8")
    graph = onnx.load(path).graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    node = next(node for node in graph.node if node.op_type == "DynamicQuantizeLSTM")
    assert [shapes[name] for name in node.input[8:12]] == [(2,), (2,), (2, 4 * HIDDEN), (2, 4 * HIDDEN)]
