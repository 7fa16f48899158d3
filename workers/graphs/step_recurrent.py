"""Recurrent layers as single steps of their cells, with the hidden state carried.

Gates and their order are those of `torch.nn.LSTM`, `GRU` and `RNN`; Hochreiter and Schmidhuber 1997, Cho et al. 2014
(arXiv:1406.1078), in the variant where the reset gate multiplies the hidden state's product.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from workers.graphs.calls import arguments, operator_name
from workers.graphs.step_builder import StepBuilder, aten
from workers.graphs.step_values import Last, Several, Timed
from workers.graphs.window import CantCarry

__all__ = ["RECURRENT", "recurrent"]


@dataclass(frozen=True)
class _Weights:
    """Of one layer, as nodes of the step's program."""

    input: Node
    hidden: Node
    input_bias: Node | None
    hidden_bias: Node | None
    projection: Node | None


Cell = Callable[[StepBuilder, Node, list[Node], _Weights], list[Node]]
"""One step: input of shape (batch, features), the layer's state, weights → the next state; its first is the output."""


def recurrent(builder: StepBuilder, node: Node) -> Several:
    """A stack of recurrent layers, all of one direction.

    Raises:
        CantCarry: it reads the window backwards, has no batch dimension, or starts from a state that is an input.
    """
    args = arguments(node)
    _check(builder, node, args)
    source = builder.values[args["input"]]
    assert isinstance(source, Timed)
    cell, count = RECURRENT[operator_name(node)]
    start = _starts(builder, node, args["hx"], count)
    x = builder.call(aten.select.int, source.node, source.axis, 0)
    finals: list[list[Node]] = [[] for _ in range(count)]
    for layer, weights in enumerate(_layers(builder, args)):
        carried = []
        for which, what in zip(range(count), "hc", strict=False):
            carried.append(_carried(builder, node, start[which], layer, what))
        following = cell(builder, x, [used for _, used in carried], weights)
        for (state, _), after, final in zip(carried, following, finals, strict=True):
            builder.carry(state, after)
            final.append(after)
        x = following[0]
    outputs = builder.call(aten.unsqueeze.default, x, source.axis)
    return Several(
        (source.at(outputs), *(Last(builder.call(aten.stack.default, final)) for final in finals)),
    )


def _check(builder: StepBuilder, node: Node, args: dict[str, Any]) -> None:
    name = node.name
    if args["bidirectional"]:
        raise CantCarry(
            f"`{name}` is bidirectional: its backward direction starts at the end of the window, which a single step "
            "has not seen. Leave `cache` out, or train a model of one direction."
        )
    if args["train"] and args["dropout"]:
        raise CantCarry(f"`{name}` was exported in training mode. Call `module.eval()` before you export.")
    source = builder.values.get(args["input"])
    rank = args["input"].meta["val"].dim()
    axis = rank - 2 if args["batch_first"] else 0
    if rank != 3 or not isinstance(source, Timed) or source.inner is not None or source.axis != axis:
        raise CantCarry(
            f"`{name}` runs along another axis than that of the steps. Set `time_axis` to the axis it runs along."
        )


def _layers(builder: StepBuilder, args: dict[str, Any]) -> list[_Weights]:
    biases = 2 if args["has_biases"] else 0
    each = len(args["params"]) // args["num_layers"]
    found = []
    for layer in range(args["num_layers"]):
        given = [builder.became(weight) for weight in args["params"][layer * each : (layer + 1) * each]]
        input_bias, hidden_bias = given[2:4] if biases else (None, None)
        projection = given[2 + biases] if each > 2 + biases else None
        found.append(_Weights(given[0], given[1], input_bias, hidden_bias, projection))
    return found


def _starts(builder: StepBuilder, node: Node, given: Any, count: int) -> list[Node]:
    """The states that the source starts from, each of shape (layers, batch, size)."""
    starts = list(given) if isinstance(given, (list, tuple)) else [given]
    for start in starts[:count]:
        if start not in builder.fixed:
            raise CantCarry(
                f"`{node.name}` starts from a state that depends on the inputs: the model carries its state already, "
                "or computes it from the window. Leave `cache` out."
            )
    return starts


def _carried(builder: StepBuilder, node: Node, start: Node, layer: int, what: str) -> tuple[Node, Node]:
    """The state of a layer: the input that carries it, and what the cell is to read.

    A start that is not zero (a learned one) is read in place of the carried zeros at the first step.
    """
    size = start.meta["val"].shape[-1]
    state = builder.state(what, (builder.window.batch, size), start.meta["val"].dtype)
    if not bool(builder.window.evaluated(start).any()):
        return state, state
    learned = builder.call(aten.select.int, builder.plain(start), 0, layer)
    first = builder.call(aten.eq.Scalar, builder.position, 0)
    return state, builder.call(aten.where.self, first, learned, state)


def _lstm(builder: StepBuilder, x: Node, state: list[Node], weights: _Weights) -> list[Node]:
    gates = builder.call(
        aten.add.Tensor,
        builder.call(aten.linear.default, x, weights.input, weights.input_bias),
        builder.call(aten.linear.default, state[0], weights.hidden, weights.hidden_bias),
    )
    into, keep, new, out = _parts(builder, gates, 4)
    into, keep, out = (builder.call(aten.sigmoid.default, gate) for gate in (into, keep, out))
    new = builder.call(aten.tanh.default, new)
    kept, added = builder.call(aten.mul.Tensor, keep, state[1]), builder.call(aten.mul.Tensor, into, new)
    cell = builder.call(aten.add.Tensor, kept, added)
    hidden = builder.call(aten.mul.Tensor, out, builder.call(aten.tanh.default, cell))
    if weights.projection is not None:
        hidden = builder.call(aten.linear.default, hidden, weights.projection)
    return [hidden, cell]


def _gru(builder: StepBuilder, x: Node, state: list[Node], weights: _Weights) -> list[Node]:
    given = _parts(builder, builder.call(aten.linear.default, x, weights.input, weights.input_bias), 3)
    held = _parts(builder, builder.call(aten.linear.default, state[0], weights.hidden, weights.hidden_bias), 3)
    reset, update = (
        builder.call(aten.sigmoid.default, builder.call(aten.add.Tensor, one, other))
        for one, other in zip(given[:2], held[:2], strict=True)
    )
    of_hidden = builder.call(aten.mul.Tensor, reset, held[2])
    new = builder.call(aten.tanh.default, builder.call(aten.add.Tensor, given[2], of_hidden))
    difference = builder.call(aten.sub.Tensor, state[0], new)
    return [builder.call(aten.add.Tensor, builder.call(aten.mul.Tensor, difference, update), new)]


def _plain_cell(activation: Any) -> Cell:
    def cell(builder: StepBuilder, x: Node, state: list[Node], weights: _Weights) -> list[Node]:
        given = builder.call(aten.linear.default, x, weights.input, weights.input_bias)
        held = builder.call(aten.linear.default, state[0], weights.hidden, weights.hidden_bias)
        return [builder.call(activation, builder.call(aten.add.Tensor, given, held))]

    return cell


def _parts(builder: StepBuilder, node: Node, count: int) -> Sequence[Node]:
    split = builder.call(aten.chunk.default, node, count, -1)
    return [builder.call(operator.getitem, split, index) for index in range(count)]


RECURRENT: dict[str, tuple[Cell, int]] = {
    "lstm": (_lstm, 2),
    "gru": (_gru, 1),
    "rnn_tanh": (_plain_cell(aten.tanh.default), 1),
    "rnn_relu": (_plain_cell(aten.relu.default), 1),
}
"""Cell, and tensors of its state, by the operator of the layer."""
