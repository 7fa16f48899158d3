"""LSTM and GRU with low-bit weights, on kernels of our own inside an AOTInductor package.

1. A layer is treated if all its matrices are low-bit, it has no projection, and no dropout acts.
2. Each direction of each layer is one operator that walks the steps. If the layer's input is rounded row by row, so are
   the inputs of the layers above it and the state at each step, though eager leaves those in float: at least as fine
   as ONNX Runtime, which takes one range for the whole batch. If it is not rounded, everything is computed in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from workers.graphs.calls import arguments
from workers.graphs.inductor_operators import gru, lstm
from workers.graphs.inductor_packing import MOST_COLUMNS, PackedWeight
from workers.graphs.low_bit import LowBitWeight, read_weight

__all__ = ["RECURRENT", "Cell", "cell_numbers", "cells_of", "recurrent_layers", "recurrent_refusal"]

aten = torch.ops.aten
RECURRENT = {aten.lstm.input: lstm, aten.gru.input: gru}
"""Layers that have a kernel, and its operator."""

Cell = tuple[LowBitWeight, LowBitWeight, Any, Any]
"""One layer in one direction: the matrices of inputs and state, and the nodes of both biases or `None`."""


def cells_of(module: GraphModule, node: Node) -> list[Cell] | None:
    """The parameters of all layers and directions; `None` if a matrix is no low-bit weight or there is a projection."""
    call = arguments(node)
    size = 4 if call["has_biases"] else 2
    parameters = list(call["params"])
    if len(parameters) != size * call["num_layers"] * (2 if call["bidirectional"] else 1):
        return None
    cells: list[Cell] = []
    for start in range(0, len(parameters), size):
        inputs, state = (read_weight(module, each) for each in parameters[start : start + 2])
        if inputs is None or state is None:
            return None
        biases = parameters[start + 2 : start + size] or [None, None]
        cells.append((inputs, state, biases[0], biases[1]))
    return cells


def recurrent_refusal(module: GraphModule, node: Node) -> str | None:
    """Why a layer gets no kernel (rule 1); `None`: it gets one."""
    call = arguments(node)
    cells = cells_of(module, node)
    if cells is None:
        return "a matrix without few bits, or a projection"
    if call["dropout"] and call["train"]:
        return "dropout acts"
    if any(min(weight.group, weight.columns_used) > MOST_COLUMNS for cell in cells for weight in cell[:2]):
        return f"more than {MOST_COLUMNS} columns share a scale"
    return None


def recurrent_layers(
    x: torch.Tensor,
    states: Sequence[torch.Tensor],
    cells: Sequence[Sequence[Any]],
    numbers: Sequence[Sequence[int]],
    options: dict[str, Any],
) -> tuple[torch.Tensor, ...]:
    """As `aten.lstm.input` and `aten.gru.input`: the outputs, the last states, and of an LSTM the last cells.

    Args:
        states: (layers · directions, batch, hidden): the state, and of an LSTM the cell.
        cells: per layer and direction both packed matrices and both biases (or `None`).
        numbers: per layer and direction what `cell_numbers` gives.
        options: `directions`, `batch_first`, `rounded`.
    """
    count = options["directions"]
    operator = lstm if len(states) == 2 else gru
    x = x.transpose(0, 1) if options["batch_first"] else x
    ends: list[Sequence[torch.Tensor]] = []
    for start in range(0, len(cells), count):
        outputs = []
        for number in range(start, start + count):
            flags = (int(options["rounded"]), number - start)
            begin = [state[number] for state in states]
            found, *last = operator(x, *begin, *cells[number], *numbers[number], *flags)
            outputs.append(found)
            ends.append(last)
        x = torch.cat(outputs, -1) if count > 1 else outputs[0]
    x = x.transpose(0, 1) if options["batch_first"] else x
    return (x, *(torch.stack(parts) for parts in zip(*ends, strict=True)))


def cell_numbers(inputs: PackedWeight, state: PackedWeight) -> tuple[int, ...]:
    """As the operators take them: columns, bits, group and zero points of both."""
    return tuple(
        number
        for weight in (inputs, state)
        for number in (weight.columns, weight.bits, weight.group, int(weight.has_zeros))
    )
