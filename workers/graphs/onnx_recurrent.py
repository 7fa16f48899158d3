"""LSTM, GRU and plain RNN layers with low-bit weights.

1. A layer is treated if its input is rounded, all its matrices are low-bit, it has no projection, and no dropout acts.
2. LSTM: `DynamicQuantizeLSTM`, int8 weights with a scale per row, or one for all where that costs next to nothing,
   inputs and state rounded as they come. Fewer bits are stored as such, and become int8 when the file is loaded: with
   one scale per row the codes stay what they are; scales per group are brought to one per row, which rounds once more,
   far below what four bits lost. ONNX Runtime has nothing faster: a loop over `MatMulNBits` takes 1.6 to 6 times as
   long (`benchmarks/onnx_low_bit.py`).
3. GRU and RNN have no such operator. The projection of the whole sequence is one `MatMulNBits`, the recurrence a `Scan`
   with a `MatMulNBits` in its body, from `FEWEST_HIDDEN` units on, by bits; smaller ones are faster in float.
4. Anything else is stored in its bits and computed in float.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from workers.graphs.calls import arguments, operator_name
from workers.graphs.low_bit import LowBitWeight, read_weight
from workers.graphs.onnx_lstm import cell_constants, keeps_codes, lstm_layers, on_one_scale
from workers.graphs.onnx_matmul_nbits import nbits_options, packed_for_rounded
from workers.graphs.onnx_scan import scan_layers
from workers.graphs.onnx_sites import Site

__all__ = ["FEWEST_HIDDEN", "RECURRENT", "lower_recurrent"]

aten = torch.ops.aten
RECURRENT = frozenset({aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input})
FEWEST_HIDDEN = {2: 512, 3: 512, 4: 512, 8: 256}


@dataclass(frozen=True)
class _Cell:
    """The parameters of one layer in one direction."""

    inputs: LowBitWeight
    state: LowBitWeight
    biases: tuple[Any, Any]
    """Nodes, or `None`: those of the inputs and of the state."""


def lower_recurrent(site: Site, source: Node | None) -> str | None:
    """Replaces an LSTM, GRU or RNN.

    Args:
        source: the float tensor behind its rounded input; `None` if the input is not rounded.

    Returns:
        how it computes now; `None` if it stays as it is (rules 1 and 4).
    """
    call = arguments(site.node)
    cells = list(_cells(site, call))
    if source is None or not cells or (call["dropout"] and call["train"]):
        return None
    options = {
        "hidden": cells[0].state.shape[1],
        "directions": 2 if call["bidirectional"] else 1,
        "batch_first": call["batch_first"],
    }
    bits = max(cell.inputs.bits for cell in cells)
    if site.node.target is aten.lstm.input:
        return _lstm(site, source, call["hx"], cells, options, bits)
    if options["hidden"] < FEWEST_HIDDEN[bits]:
        return None
    return _scan(site, source, call["hx"], cells, options)


def _cells(site: Site, call: dict[str, Any]) -> Iterator[_Cell]:
    """All cells, or none if any is not as rule 1 wants it."""
    size = 4 if call["has_biases"] else 2
    parameters = list(call["params"])
    count = call["num_layers"] * (2 if call["bidirectional"] else 1)
    if len(parameters) != size * count:
        return
    found = []
    for start in range(0, len(parameters), size):
        matrices = [read_weight(site.module, node) for node in parameters[start : start + 2]]
        inputs, state = matrices
        if inputs is None or state is None:
            return
        biases = parameters[start + 2 : start + size] or [None, None]
        found.append(_Cell(inputs, state, (biases[0], biases[1])))
    yield from found


def _lstm(
    site: Site, source: Node, states: Sequence[Node], cells: list[_Cell], options: dict[str, Any], bits: int
) -> str:
    inputs = _matrices([cell.inputs for cell in cells], options["directions"])
    state = _matrices([cell.state for cell in cells], options["directions"])
    constants = [
        [
            *(site.constant(f"{kind}_{number}_{index}", value)
              for kind, values in (("inputs", matrix), ("state", other))
              for index, value in enumerate(values)),
            *cell.biases,
        ]
        for number, (cell, matrix, other) in enumerate(zip(cells, inputs, state, strict=True))
    ]  # fmt: skip
    shapes = [[_shape(weight) for weight in (cell.inputs, cell.state)] for cell in cells]
    site.replace(lstm_layers, source, list(states), constants, shapes, options)
    stored = "" if bits == 8 else f"stored in {bits} bits, "
    return f"{stored}computed in 8 bits, input and state int8 per call (DynamicQuantizeLSTM)"


def _matrices(weights: Sequence[LowBitWeight], directions: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """The constants of each; the directions of a layer have the same form."""
    for start in range(0, len(weights), directions):
        layer = weights[start : start + directions]
        shared = on_one_scale(layer)
        yield from (cell_constants(weight, shared=shared is not None) for weight in shared or layer)


def _shape(weight: LowBitWeight) -> tuple[int, ...]:
    """As `lstm_layers` takes it."""
    columns = weight.codes.shape[1]
    return weight.stored_bits, columns, weight.columns_used, weight.group, int(keeps_codes(weight))


def _scan(site: Site, source: Node, state: Node, cells: list[_Cell], options: dict[str, Any]) -> str | None:
    packed = [(packed_for_rounded(cell.inputs), packed_for_rounded(cell.state)) for cell in cells]
    constants, attributes = [], []
    for number, (cell, pair) in enumerate(zip(cells, packed, strict=True)):
        values: list[Any] = []
        for kind, matrix in zip(("inputs", "state"), pair, strict=True):
            if matrix is None:
                return None
            values.append(site.constant(f"{kind}_{number}_codes", matrix.codes))
            values.append(site.constant(f"{kind}_{number}_scales", matrix.scales.flatten()))
            values.append(site.constant(f"{kind}_{number}_zeros", matrix.zeros))
        constants.append([*values, *cell.biases])
        attributes.append([nbits_options(matrix, level=4) for matrix in pair if matrix is not None])
    kind = operator_name(site.node).partition(".")[0]
    site.replace(scan_layers, source, state, constants, attributes, {**options, "kind": kind})
    first = packed[0][1]
    assert first is not None
    return f"computed in {first.bits} bits, block {first.block}, inputs int8 per block (MatMulNBits in a Scan)"
