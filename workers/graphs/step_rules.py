"""Which operators keep the steps of a window apart, and along which axis their result has them.

A rule gets the builder, the node and what its arguments became, and gives what the node becomes. Operators that are in
no table mix steps as far as is known, and are refused with the reason.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import Node

from workers.graphs.calls import arguments, operator_name
from workers.graphs.fixed_values import mapped
from workers.graphs.step_attention import attention
from workers.graphs.step_builder import StepBuilder
from workers.graphs.step_recurrent import RECURRENT, recurrent
from workers.graphs.step_reshapes import reshape
from workers.graphs.step_values import Last, Several, Timed, Value
from workers.graphs.window import CantCarry

__all__ = ["value_of"]

Rule = Callable[[StepBuilder, Node, Timed, dict[str, Any]], Value]

_UNARY = frozenset({
    "contiguous", "clone", "to", "_to_copy", "detach", "alias", "dropout", "type_as", "native_dropout",
    "feature_dropout", "alpha_dropout", "one_hot",
    "quantized_decomposed::quantize_per_tensor", "quantized_decomposed::dequantize_per_tensor",
})  # fmt: skip
_ALONG_OTHERS = frozenset({
    "softmax", "log_softmax", "_softmax", "_log_softmax", "cumsum", "cumprod", "flip", "glu", "sort",
})  # fmt: skip
"""Work along `dim` and keep the shape (`glu` halves it)."""
_ROWS = frozenset({
    "linear", "quantized_decomposed::choose_qparams_per_token",
    "quantized_decomposed::choose_qparams_per_token_asymmetric",
    "quantized_decomposed::_choose_qparams_per_token_asymmetric_impl",
    "quantized_decomposed::quantize_per_token", "quantized_decomposed::dequantize_per_token",
})  # fmt: skip
"""Work on rows along the last dimension."""
_REDUCTIONS = frozenset({
    "sum", "mean", "amax", "amin", "var", "std", "norm", "linalg_vector_norm", "logsumexp", "prod", "argmax", "argmin",
    "any", "all",
})  # fmt: skip
_RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "flatten", "unflatten"})
_MIX = {
    "conv1d": "is a convolution along the steps",
    "convolution": "is a convolution along the steps",
    "group_norm": "takes its statistics over all steps",
    "instance_norm": "takes its statistics over all steps",
    "adaptive_avg_pool1d": "pools over the steps",
    "index": "picks steps by number",
    "gather": "picks steps by number",
}
"""What is known of operators that mix steps."""


def value_of(builder: StepBuilder, node: Node) -> Value | None:
    """What a node becomes that is not fixed; `None` for one without a value of its own.

    Raises:
        CantCarry: it mixes steps in a way that no state can carry, or no rule knows it.
    """
    values = [builder.values[source] for source in node.all_input_nodes if source in builder.values]
    timed = [value for value in values if isinstance(value, Timed)]
    name = operator_name(node)
    if node.target is operator.getitem:
        return _item(builder, node)
    if not values or (not node.users and name.startswith(("_assert", "sym_constrain"))):
        return None
    if not timed:
        return _of_last(builder, node)
    if name in RECURRENT:
        return recurrent(builder, node)
    if len(timed) != len(values):
        raise CantCarry(
            f"`{node.name}` joins the last step with all steps, so each result needs the whole window. Leave "
            "`cache` out."
        )
    if name == "scaled_dot_product_attention":
        return attention(builder, node)
    if name in _RESHAPES:
        return reshape(builder, node, timed[0])
    if rule := _RULES.get(name):
        return rule(builder, node, timed[0], arguments(node))
    if isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags:
        return _pointwise(builder, node, timed)
    raise mixes(node, _MIX.get(name, "is an operator without a rule for steps"))


def mixes(node: Node, how: str) -> CantCarry:
    """The refusal of a node that mixes steps."""
    return CantCarry(
        f"`{node.name}` ({operator_name(node)}) {how}, so a single step does not tell its result. Leave `cache` out."
    )


def _of_last(builder: StepBuilder, node: Node) -> Value:
    """Once a single step is left, anything may be done to it."""
    copied = builder.copy(node)
    value = node.meta.get("val")
    if isinstance(value, (list, tuple)):
        return Several(tuple(Last(builder.call(operator.getitem, copied, index)) for index in range(len(value))))
    return Last(copied)


def _item(builder: StepBuilder, node: Node) -> Value:
    source, index = node.args
    assert isinstance(source, Node)
    assert isinstance(index, int)
    several = builder.values[source]
    assert isinstance(several, Several)
    found = several.items[index]
    if found is None:
        raise CantCarry(f"`{node.name}` is a result that a single step does not have. Leave `cache` out.")
    return found


def _several(builder: StepBuilder, node: Node, timed: Timed, axis: int | None = None) -> Several:
    """An operator that gives several tensors, all with the steps along one axis."""
    copied = builder.copy(node)
    return Several(
        tuple(timed.at(builder.call(operator.getitem, copied, index), axis) for index in range(len(node.meta["val"])))
    )


def _pointwise(builder: StepBuilder, node: Node, timed: Sequence[Timed]) -> Timed:
    """Operands are aligned at their last dimension; a constant with one entry per step is read at the position."""
    rank = _rank(node)
    sources = [source for source in node.all_input_nodes if source in builder.values]
    ends = {_rank(source) - value.axis for source, value in zip(sources, timed, strict=True)}
    if len(ends) != 1 or len({value.inner for value in timed}) != 1:
        raise mixes(node, "combines steps with each other")
    end, inner = ends.pop(), timed[0].inner

    def became(source: Node) -> Node:
        axis = _rank(source) - end if isinstance(source.meta.get("val"), torch.Tensor) else -1
        if source not in builder.fixed or axis < 0 or builder.window.shape(source)[axis] == 1:
            return builder.became(source)
        if inner is not None or not builder.is_table(source, axis):
            raise mixes(node, "combines steps with a constant of another length")
        return builder.table(source, axis)

    assert callable(node.target)
    return timed[0].at(builder.graph.call_function(node.target, *mapped(node, became)), rank - end)


def _unary(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    return timed.at(builder.copy(node))


def _along_others(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Value:
    dims = args.get("dims", args.get("dim", -1))
    if timed.axis in _axes(dims, _rank(node)):
        raise mixes(node, "works along the steps")
    return _same_axis(builder, node, timed)


def _same_axis(builder: StepBuilder, node: Node, timed: Timed) -> Value:
    return (
        _several(builder, node, timed) if isinstance(node.meta["val"], (list, tuple)) else timed.at(builder.copy(node))
    )


def _not_last(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Value:
    """Operators that mix the last dimension only."""
    if timed.axis == _source_rank(builder, node) - 1:
        raise mixes(node, "works along the steps")
    return _same_axis(builder, node, timed)


def _embedding(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    if args["weight"] not in builder.fixed:
        raise mixes(node, "looks rows up in a table that depends on the inputs")
    return timed.at(builder.copy(node))


def _layer_norm(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    if timed.axis >= _rank(node) - len(args["normalized_shape"]):
        raise mixes(node, "takes its statistics over the steps")
    return timed.at(builder.copy(node))


def _batch_norm(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    if timed.axis == 1:
        raise mixes(node, "has parameters of its own for each step")
    return timed.at(builder.copy(node))


def _matmul(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    first, second = list(args.values())[:2]
    if first in builder.values and second in builder.values:
        raise mixes(
            node,
            "multiplies steps with steps. Attention is recognised where it is written with "
            "`scaled_dot_product_attention`; here it is not",
        )
    rank = _source_rank(builder, node)
    contracted = rank - 1 if first in builder.values else max(rank - 2, 0)
    if timed.axis == contracted or rank < 2:
        raise mixes(node, "sums over the steps")
    return timed.at(builder.copy(node), _rank(node) - (rank - timed.axis))


def _reduction(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    rank = _source_rank(builder, node)
    axes = _axes(args.get("dim"), rank)
    if timed.axis in axes:
        raise mixes(node, "reduces over the steps")
    shift = 0 if args.get("keepdim") else sum(axis < timed.axis for axis in axes)
    return timed.at(builder.copy(node), timed.axis - shift)


def _permutation(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    order = _order(operator_name(node), args, _rank(node))
    return timed.at(builder.copy(node), order.index(timed.axis))


def _order(name: str, args: dict[str, Any], rank: int) -> list[int]:
    """For each axis of the result the axis of the source."""
    order = list(range(rank))
    if name == "permute":
        return [axis % rank for axis in args["dims"]]
    one, other = (args["dim0"] % rank, args["dim1"] % rank) if name == "transpose" else (rank - 2, rank - 1)
    order[one], order[other] = order[other], order[one]
    return order


def _unsqueeze(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    axis = args["dim"] % _rank(node)
    return timed.at(builder.copy(node), timed.axis + (axis <= timed.axis))


def _squeeze(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    rank = _source_rank(builder, node)
    if "dim" not in args:
        raise mixes(node, "drops every dimension of size 1, and a step's own would be one of them")
    gone = {axis for axis in _axes(args["dim"], rank) if builder.window.shape(node.all_input_nodes[0])[axis] == 1}
    return timed.at(builder.copy(node), timed.axis - sum(axis < timed.axis for axis in gone))


def _select(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Value:
    axis = args["dim"] % _source_rank(builder, node)
    if axis != timed.axis:
        return timed.at(builder.copy(node), timed.axis - (axis < timed.axis))
    if args["index"] not in (-1, builder.window.length - 1 if isinstance(builder.window.length, int) else -1):
        raise mixes(node, f"picks step {args['index']} of the window, and only the last one is at hand")
    _alone(node, timed)
    return Last(builder.call(node.target, builder.became(args["self"]), axis, 0))


def _slice(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Value:
    axis = args["dim"] % _source_rank(builder, node)
    if axis != timed.axis:
        return timed.at(builder.copy(node))
    _alone(node, timed)
    length = builder.window.length
    start, end = args["start"] or 0, args["end"]
    whole = end is None or (isinstance(end, int) and end >= (length if isinstance(length, int) else 2**62))
    if whole and start == 0 and args["step"] == 1:
        return timed.at(builder.became(args["self"]))
    if whole and start in (-1, length - 1 if isinstance(length, int) else -1):
        return Last(builder.became(args["self"]))
    raise mixes(node, "cuts steps out of the window")


def _alone(node: Node, timed: Timed) -> None:
    if timed.inner is not None:
        raise mixes(node, "cuts a dimension that holds more than the steps")


def _split(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Several:
    axis = args["dim"] % _source_rank(builder, node)
    if axis == timed.axis:
        raise mixes(node, "cuts the steps apart")
    unbound = operator_name(node) == "unbind"
    return _several(builder, node, timed, timed.axis - (unbound and axis < timed.axis))


def _concatenation(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    tensors = list(node.all_input_nodes)
    values = [builder.values.get(each) for each in tensors]
    if len({(value.axis, value.inner) if isinstance(value, Timed) else None for value in values}) != 1:
        raise mixes(node, "joins steps with what is not divided into steps alike")
    stacks = operator_name(node) == "stack"
    axis = args["dim"] % _rank(node)
    if not stacks and axis == timed.axis:
        raise mixes(node, "adds steps to the window")
    return timed.at(builder.copy(node), timed.axis + (stacks and axis <= timed.axis))


def _expand(builder: StepBuilder, node: Node, timed: Timed, args: dict[str, Any]) -> Timed:
    axis = timed.axis + len(args["size"]) - _source_rank(builder, node)
    sizes = [-1 if index == axis else size for index, size in enumerate(args["size"])]
    return timed.at(builder.copy(node, (args["self"], sizes)), axis)


def _rank(node: Node) -> int:
    return int(node.meta["val"].dim())


def _source_rank(builder: StepBuilder, node: Node) -> int:
    """Dimensions of the argument that depends on the inputs."""
    return _rank(next(source for source in node.all_input_nodes if source in builder.values))


def _axes(dims: Any, rank: int) -> list[int]:
    if dims is None or dims == []:
        return list(range(rank))
    return [axis % rank for axis in (dims if isinstance(dims, (list, tuple)) else [dims])]


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_ALONG_OTHERS, _along_others),
    **dict.fromkeys(_ROWS, _not_last),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(("permute", "transpose", "t", "mT", "swapaxes"), _permutation),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unbind", "tensor_split"), _split),
    **dict.fromkeys(("cat", "concat", "stack"), _concatenation),
    **dict.fromkeys(("matmul", "mm", "bmm"), _matmul),
    "embedding": _embedding,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "select": _select,
    "slice": _slice,
    "expand": _expand,
}
