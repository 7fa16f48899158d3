"""Channel rules of tensors with the same value everywhere: they fit any number of channels."""

from __future__ import annotations

from collections.abc import Callable

from torch.fx import Graph, Node

from workers.graphs.calls import Axes, Call, fixed, operator_name

__all__ = ["FILL_RULES", "is_fill", "unshare_fills"]


def fill(call: Call) -> tuple[Axes, ...]:
    """Labels of its own for each dimension of a size that is a number; what they meet decides what becomes of them."""
    return (_labelled(call, fixed(call.shapes[0])),)


def expand(call: Call) -> tuple[Axes, ...]:
    """Dimensions of size 1 stretch, to copies of one value; the others keep their labels."""
    axes, shape = next(iter(call.tensors())), call.shapes[0]
    made = list(_labelled(call, fixed(shape)))
    for place in range(-len(axes), 0):
        if len(axes[place]) == shape[place]:
            made[place] = axes[place]
        else:
            call.freeze(axes[place], "stretches a dimension of size 1")
    return (tuple(made),)


def _labelled(call: Call, axes: Axes) -> Axes:
    known = call.node.meta["val"].shape
    return tuple(
        call.labels.fresh(len(axis)) if isinstance(size, int) and size > 1 else axis
        for axis, size in zip(axes, known, strict=True)
    )


FILL_RULES: dict[str, Callable[[Call], tuple[Axes, ...]]] = {
    **dict.fromkeys(("zeros", "ones", "full", "new_zeros", "new_ones", "new_full"), fill),
    **dict.fromkeys(("expand", "broadcast_to"), expand),
}


def is_fill(node: object) -> bool:
    """True for a call that makes a tensor with one value everywhere."""
    return isinstance(node, Node) and FILL_RULES.get(operator_name(node)) is fill


def unshare_fills(graph: Graph) -> None:
    """Gives every reader of such a tensor one of its own: layers that start from the same zeros may differ in size."""
    for node in [node for node in graph.nodes if is_fill(node)]:
        for user in list(node.users)[1:]:
            with graph.inserting_after(node):
                user.replace_input_with(node, graph.node_copy(node))
