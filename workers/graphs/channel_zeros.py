"""Is a channel zero in some tensor, once all weights that own the channel are zero?

Removing a channel computes what the model computes with the channel at zero. Where an operator sums over channels
(`mean`, `rms_norm`, a product of two activations) that holds only for channels that add nothing to the sum.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.fx import Node

from workers.graphs.calls import Trace, arguments, operator_name
from workers.graphs.stored_values import attribute

__all__ = ["vanishes"]

_KEEP_ZERO = frozenset(
    (
        *("relu", "relu6", "gelu", "silu", "mish", "tanh", "leaky_relu", "elu", "selu", "celu", "hardswish", "neg"),
        *("abs", "sqrt", "sin", "tan", "erf", "sign", "hardtanh", "prelu", "div", "dropout", "feature_dropout"),
        *("clone", "contiguous", "alias", "detach", "to", "_to_copy", "square", "asinh", "atan", "trunc"),
    )
)
"""Operators that give 0 where their first operand is 0."""
_MOVE = frozenset(
    (
        *("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "permute"),
        *("t", "slice", "select", "split", "split_with_sizes", "chunk", "unbind", "flip", "expand", "index_select"),
        *("repeat_interleave", "repeat"),
    )
)
"""Operators that only move elements."""
_POOL = ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool", "upsample")
_LAST = ("linear", "layer_norm", "rms_norm", "embedding")
"""Layers whose channels are the last dimension; those of the others are dimension 1."""
_CONVOLUTIONS = tuple(f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3))
_LAYERS = (*_LAST, *_CONVOLUTIONS, "batch_norm", "group_norm", "instance_norm", "embedding")
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def vanishes(node: object, dim: int, trace: Trace) -> bool:
    """True if a channel along dimension `dim` of the node's tensor is surely zero when its weights are."""
    if not isinstance(node, Node) or not trace.axes.get(node):
        return False
    key = (node, dim % max(len(trace.axes[node][0]), 1))
    if key not in trace.vanishing:
        trace.vanishing[key] = False  # a walk never comes back to where it is, graphs have no cycles
        trace.vanishing[key] = _found(*key, trace)
    return trace.vanishing[key]


def _found(node: Node, dim: int, trace: Trace) -> bool:
    if node.op == "get_attr":
        module = node.graph.owning_module
        return module is not None and isinstance(attribute(module, str(node.target)), torch.nn.Parameter)
    if node.target is operator.getitem:
        return _item(node, dim, trace)
    if node.op != "call_function":
        return False
    name = operator_name(node).removesuffix("_")
    given = arguments(node)
    rule = _RULES.get(name)
    if rule is not None:
        return rule(node, dim, trace)
    if name in _KEEP_ZERO:
        return _operand(node.args[0], node, dim, trace)
    if name in _MOVE:
        return _moved(node, dim, trace)
    if name.startswith(_POOL):
        return dim == 1 and vanishes(node.args[0], dim, trace)
    if name not in _LAYERS:
        return False
    channels = len(trace.axes[node][0]) - 1 if name in _LAST else 1
    return dim == channels and _owned(given, trace)


def _owned(given: dict[str, object], trace: Trace) -> bool:
    """True if the weight, and the bias if there is one, are trained tensors, which lose their channels too."""
    bias = given.get("bias")
    return vanishes(given.get("weight"), 0, trace) and (bias is None or vanishes(bias, 0, trace))


def _operand(operand: object, node: Node, dim: int, trace: Trace) -> bool:
    """The same dimension of an operand that may be stretched, where it has it in full."""
    if not isinstance(operand, Node) or not trace.axes.get(operand):
        return False
    axes, result = trace.axes[operand][0], trace.axes[node][0]
    place = dim - len(result) + len(axes)
    return place >= 0 and len(axes[place]) == len(result[dim]) and vanishes(operand, place, trace)


def _sum(node: Node, dim: int, trace: Trace) -> bool:
    return all(_operand(operand, node, dim, trace) for operand in node.args[:2])


def _product(node: Node, dim: int, trace: Trace) -> bool:
    return any(_operand(operand, node, dim, trace) for operand in node.args[:2])


def _power(node: Node, dim: int, trace: Trace) -> bool:
    exponent = node.args[1]
    return isinstance(exponent, (int, float)) and exponent > 0 and _operand(node.args[0], node, dim, trace)


def _joined(node: Node, dim: int, trace: Trace) -> bool:
    parts = node.args[0]
    assert isinstance(parts, (list, tuple))
    return all(vanishes(part, dim, trace) for part in parts)


def _matrix(node: Node, dim: int, trace: Trace) -> bool:
    rank = len(trace.axes[node][0])
    return (dim == rank - 1 and vanishes(node.args[1], -1, trace)) or (
        dim == rank - 2 and vanishes(node.args[0], -2, trace)
    )


def _moved(node: Node, dim: int, trace: Trace) -> bool:
    """Follows the labels to the dimension of the source that has the same ones."""
    source = node.args[0]
    if not isinstance(source, Node) or not trace.axes.get(source):
        return False
    return any(vanishes(source, place, trace) for place in _places(source, trace.axes[node][0][dim], trace))


def _places(source: Node, wanted: np.ndarray, trace: Trace) -> Iterator[int]:
    labels = trace.labels
    roots = np.unique(labels.roots(wanted))
    for place, axis in enumerate(trace.axes[source][0]):
        if np.isin(roots, labels.roots(axis)).all():
            yield place
            return


def _item(node: Node, dim: int, trace: Trace) -> bool:
    source = node.args[0]
    assert isinstance(source, Node)
    name = operator_name(source)
    if name in _RECURRENT:  # from a state of zero, a unit without weights stays at zero
        return dim == len(trace.axes[node][0]) - 1
    if name.startswith(_POOL):
        return dim == 1 and vanishes(source.args[0], dim, trace)
    if name in _MOVE and isinstance(source.args[0], Node):
        return any(vanishes(source.args[0], p, trace) for p in _places(source.args[0], trace.axes[node][0][dim], trace))
    return False


_RULES: dict[str, Callable[[Node, int, Trace], bool]] = {
    **dict.fromkeys(("add", "sub"), _sum),
    "mul": _product,
    "pow": _power,
    **dict.fromkeys(("mean", "sum", "linalg_vector_norm"), _moved),
    **dict.fromkeys(("cat", "concat"), _joined),
    **dict.fromkeys(("matmul", "bmm", "mm"), _matrix),
}
