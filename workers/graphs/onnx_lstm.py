"""LSTM layers as ONNX Runtime's `DynamicQuantizeLSTM`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from workers.graphs.low_bit import LowBitWeight
from workers.graphs.onnx_packing import per_row
from workers.graphs.onnx_storage import float_rows, packed_codes, packed_zeros, unpacked
from workers.graphs.row_scales import can_share_scale

__all__ = ["cell_constants", "keeps_codes", "lstm_layers", "on_one_scale"]

_GATES = (0, 3, 1, 2)
"""ONNX has input, output, forget, cell; torch has input, forget, cell, output."""
_MOST = 127

Matrix = Sequence[torch.Tensor]
"""As `cell_constants` gives it."""


def keeps_codes(weight: LowBitWeight) -> bool:
    """True if the codes, less their zero points, are int8 with one scale per row: the operator takes no other."""
    return per_row(weight) and (weight.zeros is None or weight.bits < 8)


def on_one_scale(directions: Sequence[LowBitWeight]) -> Sequence[LowBitWeight] | None:
    """One matrix of a layer, of each direction, with all its rows on the scale of the largest; `None` if that would
    cost more than next to nothing (`workers/graphs/row_scales.py`).

    The operator works with the scales at each step: with one a row, a step of 256 units takes a tenth longer.
    """
    if not all(weight.bits == 8 and weight.zeros is None and per_row(weight) for weight in directions):
        return None
    if not all(_can_share(weight) for weight in directions):
        return None
    return [_on_largest(weight) for weight in directions]


def _can_share(weight: LowBitWeight) -> bool:
    return can_share_scale(weight.dequantized(), max(1, int(weight.codes.abs().max())), together=True)


def _on_largest(weight: LowBitWeight) -> LowBitWeight:
    scale = weight.scales.max()
    codes = (weight.codes * (weight.scales / scale)).round().to(torch.int8)
    return replace(weight, codes=codes, scales=torch.full_like(weight.scales, scale.item()))


def cell_constants(weight: LowBitWeight, *, shared: bool = False) -> tuple[torch.Tensor, ...]:
    """A matrix (4 × hidden, inputs), its gates in ONNX's order: packed codes, scales, zeros, scales per row.

    Args:
        shared: the rows have one scale (`on_one_scale`), which is given as a number.
    """
    order = torch.cat([torch.arange(len(weight.codes)).chunk(4)[gate] for gate in _GATES])
    zeros = packed_zeros(weight)
    scales = weight.scales.float()
    if shared:
        return packed_codes(weight)[order], scales[order], zeros, scales[0, 0].clone()
    rows = scales[:, 0] if keeps_codes(weight) else (weight.dequantized().abs().amax(1) / _MOST).clamp(min=1e-12)
    return packed_codes(weight)[order], scales[order], zeros if len(zeros) == 1 else zeros[order], rows[order]


def lstm_layers(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    cells: Sequence[Sequence[Any]],
    shapes: Sequence[Sequence[Sequence[int]]],
    options: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `aten.lstm.input`: the outputs, the last states, the last cell states.

    Args:
        cells: per layer and direction the constants of both matrices and the two biases (or `None`).
        shapes: per layer and direction, for both matrices: bits stored, columns stored, columns used,
            group, `keeps_codes`.
    """
    count, hidden = options["directions"], options["hidden"]
    x = x.transpose(0, 1) if options["batch_first"] else x
    last: list[Sequence[torch.Tensor]] = []
    for start in range(0, len(cells), count):
        chosen = slice(start, start + count)
        x, *ends = _layer(x, [state[chosen] for state in states], cells[chosen], shapes[chosen], hidden)
        last.append(ends)
    x = x.transpose(0, 1) if options["batch_first"] else x
    return x, torch.cat([ends[0] for ends in last]), torch.cat([ends[1] for ends in last])


def _layer(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    cells: Sequence[Sequence[Any]],
    shapes: Sequence[Sequence[Sequence[int]]],
    hidden: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    length, batch, directions = x.shape[0], x.shape[1], len(cells)
    inputs = _stacked([_int8(cell[0:4], shape[0]) for cell, shape in zip(cells, shapes, strict=True)])
    state = _stacked([_int8(cell[4:8], shape[1]) for cell, shape in zip(cells, shapes, strict=True)])
    biases = None
    if cells[0][8] is not None:
        biases = torch.stack([torch.cat([_gates(cell[8]), _gates(cell[9])]) for cell in cells])
    shape = (directions, batch, hidden)
    y, h, c = torch.onnx.ops.symbolic_multi_out(
        "com.microsoft::DynamicQuantizeLSTM",
        (x, inputs[0], state[0], biases, None, *states, None, *inputs[1:], *state[1:]),
        {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"},
        dtypes=[x.dtype] * 3,
        shapes=[(length, directions, batch, hidden), shape, shape],
        version=1,
    )
    return y.transpose(1, 2).flatten(2), h, c


def _stacked(matrices: Sequence[Matrix]) -> list[torch.Tensor]:
    """Codes, scales and zero points of all directions."""
    return [torch.stack(parts) for parts in zip(*matrices, strict=True)]


def _int8(constants: Matrix, shape: Sequence[int]) -> Matrix:
    """int8 codes (inputs, 4 × hidden), scales and zero points per column, from what is stored."""
    codes, scales, zeros, rows = constants
    bits, columns, used, group, keeps = shape
    if keeps:
        whole = unpacked(codes, bits, columns).to(torch.int32) - zeros.to(torch.int32)
    else:
        floats = float_rows(codes, scales, zeros, bits, columns, group)
        whole = (floats / rows.unsqueeze(1)).round().to(torch.int32)
    return whole.to(torch.int8)[:, :used].T, rows, torch.zeros(rows.shape, dtype=torch.int8)


def _gates(bias: torch.Tensor) -> torch.Tensor:
    parts = bias.chunk(4)
    return torch.cat([parts[gate] for gate in _GATES])
