"""Channel rules of recurrent layers: hidden units, through stacked layers and both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.fx import Node

from workers.graphs.calls import Axes, Call, fixed, operator_name
from workers.graphs.channel_fills import is_fill
from workers.graphs.channel_layers import unknown
from workers.graphs.labels import LabelArray

__all__ = ["RECURRENT_RULES"]

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True)
class _Units:
    """One layer in one direction."""

    outputs: LabelArray
    cells: LabelArray
    """The same units, but for an LSTM with projections."""


def recurrent(call: Call) -> tuple[Axes, ...]:
    """`lstm`, `gru`, `rnn_tanh`, `rnn_relu`, whole.

    1. A unit owns one row per gate in the weights and biases, and one column of the recurrent weight.
    2. Its output is an input of both directions of the next layer, or of what follows.
    3. States of all layers and directions are one tensor. If it starts as zeros made in the graph, and its end is read
       one layer at a time, layers only keep the same number of units (`Trace.level`); else unit i of all goes as one.
    """
    if call.node.target not in _WHOLE:
        return unknown(call)
    x = call.axes("input")
    for axis in x[:-1]:
        call.freeze(axis, "runs along it")
    directions = 2 if call.args["bidirectional"] else 1
    cells = _cells(call.args["params"], int(call.args["num_layers"]) * directions)
    feature, units = x[-1], []
    for start in range(0, len(cells), directions):
        layer = [_cell(call, feature, nodes, _GATES[call.name]) for nodes in cells[start : start + directions]]
        feature = np.concatenate([each.outputs for each in layer])
        units.extend(layer)
    ends = _states(call, units)
    return (
        (*fixed(call.shapes[0][:-1]), feature),
        *((*fixed(shape[:-1]), end) for shape, end in zip(call.shapes[1:], ends, strict=True)),
    )


def cell(call: Call) -> tuple[Axes, ...]:
    """`lstm_cell`, `gru_cell`, …: one step of one layer, with states as inputs and outputs."""
    nodes = [call.args[name] for name in ("w_ih", "w_hh", "b_ih", "b_hh") if call.given(name)]
    x = call.axes("input")
    units = _cell(call, x[-1], nodes, _GATES[call.name.removesuffix("_cell")])
    for state in _listed(call.args["hx"]):
        call.tie(call.trace.axes[state][0][-1], units.outputs)
    return tuple((*x[:-1], units.outputs) for _ in call.shapes)


def _cells(parameters: Sequence[Node], count: int) -> list[Sequence[Node]]:
    size = len(parameters) // count
    return [parameters[start : start + size] for start in range(0, len(parameters), size)]


def _cell(call: Call, feature: LabelArray, nodes: Sequence[Node], gates: int) -> _Units:
    axes = [call.trace.axes[node][0] for node in nodes]
    (rows, columns), (recurrent_rows, recurrent_columns) = axes[:2]
    cells = rows[: len(rows) // gates]
    for own in (rows, recurrent_rows, *(bias[0] for bias in axes[2:] if len(bias) == 1)):
        call.tie(own, np.tile(cells, gates))
    call.produce(rows)
    call.produce(recurrent_rows)
    outputs = cells
    if len(axes[-1]) == 2 and len(axes) > 2:  # the projection of an LSTM stands last
        outputs = call.produce(axes[-1][0])
        call.tie(axes[-1][1], cells)
    call.tie(columns, feature)
    call.tie(recurrent_columns, outputs)
    return _Units(outputs, cells)


def _states(call: Call, units: list[_Units]) -> list[LabelArray]:
    """Ties the states before and after. Returns the labels of the last dimension of each that comes out."""
    starts = _listed(call.args["hx"])
    parts = [tuple(each.outputs for each in units), tuple(each.cells for each in units)][: len(starts)]
    readers = _readers(call.node)
    for state, start in enumerate(starts):
        axis, arrays = call.trace.axes[start][0][-1], parts[state]
        reader = readers.get(state + 1)
        apart = is_fill(start) and (reader is None or all(map(_reads_one_layer, reader.users)))
        for units_of_one in arrays[:1] if apart else arrays:
            call.tie(axis, units_of_one)
        if apart and len(arrays) > 1:
            call.trace.level.append(arrays)
            if reader is not None:
                call.trace.stacked[reader] = arrays
    return [arrays[0] for arrays in parts]


def _readers(node: Node) -> dict[int, Node]:
    return {int(str(user.args[1])): user for user in node.users if user.users}


def _reads_one_layer(user: Node) -> bool:
    return operator_name(user) == "select" and bool(user.args[1] == 0) and isinstance(user.args[2], int)


def _listed(states: object) -> list[Node]:
    found = [states] if isinstance(states, Node) else list(states)  # type: ignore[call-overload]
    assert all(isinstance(state, Node) for state in found)
    return found


_WHOLE = frozenset(getattr(torch.ops.aten, name).input for name in _GATES)
"""Not `.data`, which takes packed sequences."""

RECURRENT_RULES: dict[str, Callable[[Call], tuple[Axes, ...]]] = {
    **dict.fromkeys(_GATES, recurrent),
    **dict.fromkeys((f"{name}_cell" for name in _GATES), cell),
}
