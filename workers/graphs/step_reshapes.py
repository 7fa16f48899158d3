"""Reshapes of a window as those of one step.

In row-major order, the elements before a step's entry (the product of the sizes in front of the axis of the steps) are
as many after a reshape as before. That tells in which dimension of the result the steps are, and whether alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch.fx import Node

from workers.graphs.calls import arguments, operator_name
from workers.graphs.step_builder import StepBuilder, aten
from workers.graphs.step_values import Timed
from workers.graphs.window import CantCarry

__all__ = ["reshape"]


def reshape(builder: StepBuilder, node: Node, timed: Timed) -> Timed:
    """A reshape of any kind; all are written as `reshape` with the sizes of the result."""
    source = node.all_input_nodes[0]
    before, after, steps = builder.window.shape(source), builder.window.shape(node), builder.window.steps
    inner = math.prod(before[timed.axis + 1 :]) * (timed.inner or 1)
    outer = math.prod(before) // (inner * steps)
    found = _place(after, outer, inner, steps)
    if found is None:
        raise CantCarry(
            f"`{node.name}` ({operator_name(node)}) spreads the steps over several dimensions, so a single step does "
            "not tell its result. Leave `cache` out."
        )
    axis, joined = found
    sizes = [_size(builder, node, each, size) if each != axis else 1 for each, size in enumerate(_sizes(node))]
    if joined is not None:
        sizes[axis] = -1
    return Timed(builder.call(aten.reshape.default, timed.node, sizes), axis, joined)


def _place(shape: Sequence[int], outer: int, inner: int, steps: int) -> tuple[int, int | None] | None:
    """The dimension that holds the steps, and the elements within a step's entry in it if it holds more than them."""
    for axis, size in enumerate(shape):
        before, behind = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        if before == outer and behind == inner and size == steps:
            return axis, None
        if outer % before == 0 and inner % behind == 0 and size % steps == 0 and size != steps:
            return axis, inner // behind
    return None


def _sizes(node: Node) -> Sequence[Any]:
    """The sizes of the result as the call gives them; for `flatten` and `unflatten` those of its shape."""
    given = arguments(node)
    named = given.get("size", given.get("shape"))
    return named if named is not None and len(named) == node.meta["val"].dim() else list(node.meta["val"].shape)


def _size(builder: StepBuilder, node: Node, axis: int, size: Any) -> Any:
    """A size of the step's result: a number, or that of the batch."""
    if isinstance(size, int) and size >= 0:
        return size
    if isinstance(size, Node):
        return builder.became(size)
    side = node.meta["val"].shape[axis]
    if isinstance(side, int):
        return side
    return builder.size(side)
