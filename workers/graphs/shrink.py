"""Removes channels from an unlifted program: slices its tensors, and mends the numbers in its calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule, Node

from workers.graphs.calls import Axes, Call, Trace
from workers.graphs.channels import tensor_at
from workers.graphs.labels import LabelArray

__all__ = ["shrink"]

Keep = Callable[[LabelArray], NDArray[np.bool_]]


def shrink(module: GraphModule, trace: Trace, removed: LabelArray) -> None:
    """Changes `module` in place; tensors that it shares with its program are replaced, not written to.

    Args:
        trace: of this very module.
        removed: classes to remove, each with all it contains.
    """

    def keep(axis: LabelArray) -> NDArray[np.bool_]:
        return np.isin(trace.labels.roots(axis), removed, invert=True)

    _slice_tensors(module, trace, keep)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node in trace.axes:
            _mend(node, trace, keep)
        elif node.op == "get_attr" and not node.users:
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
        tensor = tensor_at(module, name)
        assert isinstance(tensor, torch.Tensor)
        if id(tensor) not in made:
            made[id(tensor)] = _sliced(tensor, trace.axes[node][0], keep)
        owner, _, attribute = name.rpartition(".")
        # Parameters and buffers stay what they are, since the attribute is replaced by one of its own kind.
        setattr(module.get_submodule(owner), attribute, made[id(tensor)])


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
    mend = _MENDERS.get(call.name)
    if mend is not None:
        mend(call, keep)


def _size(axis: LabelArray, keep: Keep) -> int:
    return int(keep(axis).sum())


def _mend_shape(call: Call, keep: Keep) -> None:
    """`view`, `reshape`, `expand`, …: sizes that are numbers become the new sizes.

    A size that depends on the batch and has channels merged into it becomes -1, which a reshape works out.
    """
    name = "shape" if "shape" in call.args else "size"
    shape = call.node.meta["val"].shape
    sizes = _new_sizes(call, list(call.args[name]), list(shape), keep)
    _set(call.node, name, sizes)


def _mend_unflatten(call: Call, keep: Keep) -> None:
    given = list(call.args["sizes"])
    rank = len(call.shapes[0])
    start = int(call.args["dim"]) % (rank - len(given) + 1)
    shape = [*call.node.meta["val"].shape]
    new = _new_sizes(call, [*shape[:start], *given, *shape[start + len(given) :]], shape, keep)
    _set(call.node, "sizes", new[start : start + len(given)])


def _new_sizes(call: Call, given: list[Any], shape: list[Any], keep: Keep) -> list[Any]:
    axes = call.trace.axes[call.node][0]
    made = []
    for old, size, axis in zip(given, shape, axes, strict=True):
        kept = _size(axis, keep)
        if isinstance(size, int):
            made.append(kept)
        else:
            made.append(old if kept == len(axis) else -1)
    return made


def _mend_expand(call: Call, keep: Keep) -> None:
    given = list(call.args["size"])
    axes = call.trace.axes[call.node][0]
    shape = call.node.meta["val"].shape
    sizes = [
        _size(axis, keep) if isinstance(size, int) and old != -1 else old
        for old, size, axis in zip(given, shape, axes, strict=True)
    ]
    _set(call.node, "size", sizes)


def _mend_squeeze(call: Call, keep: Keep) -> None:
    """`squeeze` without a dimension must not take those that only now have size 1."""
    if call.node.target is torch.ops.aten.squeeze.default:
        shape = call.tensors()[0]
        call.node.target = torch.ops.aten.squeeze.dims
        call.node.args = (call.args["self"], [dim for dim, axis in enumerate(shape) if len(axis) == 1])
        call.node.kwargs = {}


def _mend_split(call: Call, keep: Keep) -> None:
    """Parts may lose different numbers of channels: each gets the size that its labels leave."""
    dim = int(call.args["dim"]) % len(call.shapes[0])
    parts = call.trace.axes[call.node]
    if any(not keep(axes[dim]).all() for axes in parts):
        call.node.target = torch.ops.aten.split_with_sizes.default
        call.node.args = (call.args["self"], [_size(axes[dim], keep) for axes in parts], dim)
        call.node.kwargs = {}


def _mend_slice(call: Call, keep: Keep) -> None:
    axis = call.tensors()[0][int(call.args["dim"])]
    mask = keep(axis)
    if mask.all():
        return
    start, end, _ = slice(call.args.get("start"), call.args.get("end")).indices(len(axis))
    _set(call.node, "start", int(mask[:start].sum()))
    _set(call.node, "end", int(mask[:end].sum()))


def _mend_groups(call: Call, keep: Keep) -> None:
    groups = int(call.args["groups"])
    weight = call.axes("weight")
    if groups > 1 and len(weight[1]) == 1:
        _set(call.node, "groups", _size(weight[0], keep) * groups // len(weight[0]))


def _set(node: Node, name: str, value: Any) -> None:
    """Sets an argument by its schema name, whether it was given by place or by name."""
    assert isinstance(node.target, torch._ops.OpOverload)
    names = [argument.name for argument in node.target._schema.arguments]
    place = names.index(name)
    if place < len(node.args):
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)


_MENDERS: dict[str, Callable[[Call, Keep], None]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_copy"), _mend_shape),
    "unflatten": _mend_unflatten,
    **dict.fromkeys(("expand", "broadcast_to"), _mend_expand),
    **dict.fromkeys(("squeeze", "squeeze_copy"), _mend_squeeze),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _mend_split),
    **dict.fromkeys(("slice", "slice_copy"), _mend_slice),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _mend_groups),
}
"""Operators whose arguments speak of sizes. Every other one follows from its tensors."""
