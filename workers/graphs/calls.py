"""One call of a graph as the channel rules see it: arguments by name, concrete shapes, labels of its tensors."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.fx import Graph, Node

from workers.graphs.labels import FIXED, LabelArray, Labels

__all__ = ["Axes", "Call", "Sizes", "Split", "Trace", "arguments", "fixed", "is_view", "operator_name"]

Axes = tuple[LabelArray, ...]
"""The labels of a tensor: one array per dimension, as long as the dimension."""
Split = tuple[tuple[int, ...], tuple[int, ...]]
"""Shapes before and after of a reshape that splits one labelled dimension into several."""


def fixed(shape: Sequence[int]) -> Axes:
    """Axes of a tensor without channels."""
    return tuple(np.full(size, FIXED, dtype=np.int64) for size in shape)


def operator_name(node: Node) -> str:
    """`conv2d` for `aten.conv2d.default`, in place or not; the target as text for what is no operator."""
    if isinstance(node.target, torch._ops.OpOverload):
        return node.target._schema.name.removeprefix("aten::")
    return str(node.target)


def is_view(node: Node) -> bool:
    """True for a call that gives views of its argument, and for one of the views that it gives."""
    target = node.target
    return target is operator.getitem or (isinstance(target, torch._ops.OpOverload) and target.is_view)


class Sizes:
    """Concrete shapes for a graph with symbolic ones.

    Each symbol becomes a prime that divides no other size in the graph, so that a reshape can't match dimensions by
    coincidence, and labels can be plain arrays.
    """

    def __init__(self, graph: Graph) -> None:
        static: set[int] = set()
        symbols: set[Any] = set()
        for shape in (shape for node in graph.nodes for shape in _shapes(node.meta.get("val"))):
            static.update(size for size in shape if isinstance(size, int))
            symbols.update(*(size.node.expr.free_symbols for size in shape if isinstance(size, torch.SymInt)))
        primes = (n for n in range(13, 10**6) if all(n % k for k in range(2, int(n**0.5) + 1)))
        unused = (prime for prime in primes if all(size == 0 or size % prime for size in static))
        self._values = dict(zip(sorted(symbols, key=str), unused, strict=False))

    def of(self, value: Any) -> list[tuple[int, ...]]:
        """The shapes of a node's tensors, in order; none for a node that gives no tensor."""
        return [tuple(self._size(size) for size in shape) for shape in _shapes(value)]

    def _size(self, size: Any) -> int:
        return size if isinstance(size, int) else int(size.node.expr.xreplace(self._values))


def _shapes(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value.shape]
    if isinstance(value, (list, tuple)):
        return [shape for item in value for shape in _shapes(item)]
    return []


@dataclass
class Trace:
    """What a walk over a graph collects."""

    labels: Labels
    sizes: Sizes
    chosen: dict[Split, int] = field(default_factory=dict)
    """Which dimension carries the labels after a reshape that splits a labelled dimension."""
    choices: dict[Split, tuple[int, ...]] = field(default_factory=dict)
    """The dimensions that could have, where more than one could."""
    axes: dict[Node, tuple[Axes, ...]] = field(default_factory=dict)
    """Labels of each node's tensors."""
    produced: list[LabelArray] = field(default_factory=list)
    """Labels in the places where a layer makes new channels."""
    scales: list[LabelArray] = field(default_factory=list)
    """Labels of the scales of normalizations."""
    level: list[tuple[LabelArray, ...]] = field(default_factory=list)
    """Arrays of which the same number of labels must be left, though not the same ones: layers that share a size."""
    stacked: dict[Node, tuple[LabelArray, ...]] = field(default_factory=dict)
    """For a tensor of states of several layers, read one at a time: the labels of its last dimension, for each."""
    beside: list[LabelArray] = field(default_factory=list)
    """Labels of the batch dimensions of products, where heads stand side by side."""
    rescale: bool = False
    """True if layer norms may take their statistics over the channels that are left."""
    vanishing: dict[tuple[Node, int], bool] = field(default_factory=dict)
    """What `workers.graphs.channel_zeros` found out so far."""


class Call:
    """One `call_function` node.

    Attributes:
        node: the node.
        name: its operator, such as `conv2d`.
        labels: the labels of the graph.
        args: its arguments by the schema's names, defaults included.
        shapes: the shapes of its outputs.
        trace: the walk it belongs to.
    """

    def __init__(self, node: Node, trace: Trace) -> None:
        self.node = node
        self.name = operator_name(node)
        self.trace = trace
        self.labels = trace.labels
        self.args = arguments(node)
        self.shapes = trace.sizes.of(node.meta.get("val"))

    def axes(self, name: str) -> Axes:
        """The labels of the tensor argument `name`."""
        return self.trace.axes[self.args[name]][0]

    def given(self, name: str) -> bool:
        """True if the argument `name` is a tensor, and not left out."""
        return isinstance(self.args.get(name), Node)

    def tensors(self) -> list[Axes]:
        """The labels of all tensor arguments, in order."""
        return [axes for node in self.node.all_input_nodes for axes in self.trace.axes.get(node, ())]

    def freeze(self, labels: LabelArray, what: str) -> None:
        """Freezes labels because of this operator: `what` completes the sentence that begins with its name."""
        self.labels.freeze(labels, f"{self.name} {what}")

    def tie(self, first: LabelArray, second: LabelArray) -> None:
        """Makes the two one, label by label."""
        self.labels.tie(first, second, f"{self.name} joins it with a dimension of fixed size")

    def produce(self, labels: LabelArray) -> LabelArray:
        """Notes that this operator makes channels here."""
        self.trace.produced.append(labels)
        return labels


def arguments(node: Node) -> dict[str, Any]:
    """The call's arguments by the schema's names, defaults included; empty for what has no schema."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return {}
    schema = node.target._schema.arguments
    bound = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    bound.update({argument.name: value for argument, value in zip(schema, node.args, strict=False)})
    return {**bound, **node.kwargs}
