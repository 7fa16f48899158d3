"""Removes channels from an unlifted program: slices its tensors, and mends the numbers in its calls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.fx import GraphModule, Node

from workers.graphs.calls import Axes, Call, Trace
from workers.graphs.labels import LabelArray
from workers.graphs.mend import Keep
from workers.graphs.mend_shapes import SHAPE_MENDERS
from workers.graphs.mend_values import VALUE_MENDERS
from workers.graphs.stored_values import attribute, set_attribute

__all__ = ["shrink"]


def shrink(module: GraphModule, trace: Trace, removed: LabelArray) -> None:
    """Changes `module` in place; tensors that it shares with its program are replaced, not written to.

    Args:
        trace: of this very module.
        removed: classes to remove, each with all it contains.
    """
    keep = Keep(trace, removed)
    _slice_tensors(module, trace, keep)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node in trace.axes:
            _mend(node, trace, keep)
    for node in module.graph.find_nodes(op="get_attr"):
        if not node.users:
            module.graph.erase_node(node)  # such as a batch norm's count of batches
    module.recompile()


def _slice_tensors(module: GraphModule, trace: Trace, keep: Keep) -> None:
    made: dict[int, torch.Tensor] = {}
    replaced: set[str] = set()
    for node in module.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        if name in replaced or not trace.axes[node]:
            continue
        replaced.add(name)
        tensor = attribute(module, name)
        assert isinstance(tensor, torch.Tensor)
        if id(tensor) not in made:
            made[id(tensor)] = _sliced(tensor, trace.axes[node][0], keep)
        # Parameters and buffers stay what they are, since the attribute is replaced by one of its own kind.
        set_attribute(module, name, made[id(tensor)])


def _sliced(tensor: torch.Tensor, axes: Axes, keep: Keep) -> torch.Tensor:
    cut = tensor.detach()
    for dim, axis in enumerate(axes):
        mask = keep(axis)
        if not mask.all():
            cut = cut.index_select(dim, torch.from_numpy(np.flatnonzero(mask)))
    if cut.shape == tensor.shape:
        return tensor
    return torch.nn.Parameter(cut, tensor.requires_grad) if isinstance(tensor, torch.nn.Parameter) else cut


def _mend(node: Node, trace: Trace, keep: Keep) -> None:
    before = trace.axes[node]
    sources = [axis for source in node.all_input_nodes for axes in trace.axes.get(source, ()) for axis in axes]
    if all(keep(axis).all() for axis in [*sources, *(axis for axes in before for axis in axes)]):
        return
    call = Call(node, trace)
    mend = MENDERS.get(call.name)
    if mend is not None:
        mend(call, keep)


MENDERS: dict[str, Callable[[Call, Keep], None]] = {**SHAPE_MENDERS, **VALUE_MENDERS}
"""Operators whose arguments speak of sizes, or whose result depends on them. All others follow from their tensors."""
