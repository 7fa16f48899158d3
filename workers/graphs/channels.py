"""Walks a graph and labels every channel of every tensor in it, by the rules of each operator."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import torch
from torch.fx import GraphModule, Node

from workers.graphs.calls import Axes, Call, Sizes, Split, Trace, fixed, operator_name
from workers.graphs.channel_fills import FILL_RULES
from workers.graphs.channel_layers import LAYER_RULES, broadcast, unknown
from workers.graphs.channel_norms import NORM_RULES
from workers.graphs.channel_picks import PICK_RULES
from workers.graphs.channel_recurrent import RECURRENT_RULES
from workers.graphs.channel_shapes import SHAPE_RULES
from workers.graphs.labels import FIXED, Labels
from workers.graphs.stored_values import attribute

__all__ = ["RETURNED", "label_channels"]

RETURNED = "the model returns it"
"""Why the channels of outputs stay."""


def elementwise(call: Call) -> tuple[Axes, ...]:
    """Whatever the operator computes, a channel meets the same channel."""
    made = broadcast(call, call.tensors())
    return tuple(made for _ in call.shapes)


def same(call: Call) -> tuple[Axes, ...]:
    """The result has the shape and the channels of the first operand."""
    made = call.tensors()[0]
    return tuple(made for _ in call.shapes)


def known(call: Call) -> tuple[Axes, ...]:
    """What export knows of a tensor beforehand, its type or a size that depends on the batch: it reads no channel."""
    return ()


_SAME = (
    *("clone", "contiguous", "alias", "detach", "detach_", "lift_fresh_copy", "to", "_to_copy", "type_as"),
    *("dropout", "feature_dropout", "alpha_dropout", "hardswish", "zeros_like", "ones_like", "full_like"),
)
_UNTAGGED = (
    "expand_as",
    "where",
    "copy",
    "__and__",
    "__or__",
    "__xor__",
    "multiply",
    "divide",
    "subtract",
    "true_divide",
)
"""Pointwise operators that torch does not tag as such, at least not in every form."""
RULES: dict[str, Callable[[Call], tuple[Axes, ...]]] = {
    **LAYER_RULES,
    **NORM_RULES,
    **RECURRENT_RULES,
    **SHAPE_RULES,
    **PICK_RULES,
    **FILL_RULES,
    **dict.fromkeys(_SAME, same),
    **dict.fromkeys(_UNTAGGED, elementwise),
    **dict.fromkeys(("_assert_tensor_metadata", "sym_size"), known),
}
"""The rule of each operator. Operators that torch tags as pointwise are `elementwise`; the rest is `unknown`."""


def label_channels(module: GraphModule, sizes: Sizes, chosen: Mapping[Split, int], *, rescale: bool = False) -> Trace:
    """Labels all tensors of an unlifted program (`ExportedProgram.module()`).

    1. Each dimension of each parameter and buffer starts with labels of its own; a tensor with two names has one set.
       Dimensions of size 1 have none.
    2. Each operator ties labels and passes them on.
    3. Labels that reach an output, or an operator without a rule, are frozen.

    Args:
        chosen: which dimension carries the channels after a reshape that splits them; see `channel_shapes.reshape`.
        rescale: lets channels go that a layer norm takes its statistics over; see `channel_norms.layer_norm`.
    """
    trace = Trace(Labels(), sizes, dict(chosen), rescale=rescale)
    owned: dict[int, Axes] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr":
            trace.axes[node] = _attribute(module, node, trace.labels, owned)
        elif node.op == "output":
            _freeze_outputs(node, trace)
        elif node.op == "call_function" and node.target is operator.getitem:
            source = trace.axes.get(node.args[0], ())
            trace.axes[node] = (source[node.args[1]],) if source else ()
        elif node.op == "placeholder":
            trace.axes[node] = tuple(fixed(shape) for shape in sizes.of(node.meta.get("val")))
        else:
            trace.axes[node] = _call(node, trace)
    return trace


def _attribute(module: GraphModule, node: Node, labels: Labels, owned: dict[int, Axes]) -> tuple[Axes, ...]:
    tensor = attribute(module, str(node.target))
    if not isinstance(tensor, torch.Tensor):
        return ()
    if id(tensor) not in owned:
        owned[id(tensor)] = tuple(
            labels.fresh(size) if size > 1 else fixed([size])[0] for size in map(int, tensor.shape)
        )
    return (owned[id(tensor)],)


def _call(node: Node, trace: Trace) -> tuple[Axes, ...]:
    call = Call(node, trace)
    name = operator_name(node)
    if not call.tensors() and name not in FILL_RULES:
        return tuple(fixed(shape) for shape in call.shapes)
    rule = RULES.get(name) or RULES.get(name.removesuffix("_"))
    if rule is None:
        pointwise = isinstance(node.target, torch._ops.OpOverload) and torch.Tag.pointwise in node.target.tags
        rule = elementwise if pointwise else unknown
    elif torch.Tag.pointwise in getattr(node.target, "tags", ()) and name not in LAYER_RULES:
        rule = elementwise  # such as `max.other`, which shares its name with a reduction
    return rule(call)


def _freeze_outputs(node: Node, trace: Trace) -> None:
    for source in node.all_input_nodes:
        for axes in trace.axes.get(source, ()):
            for axis in axes:
                trace.labels.freeze(axis[axis != FIXED], RETURNED)
