"""Menders of calls whose arguments are sizes or places: they follow the channels that are left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from workers.graphs.calls import Call
from workers.graphs.channel_picks import constant_index
from workers.graphs.mend import Keep, set_argument

__all__ = ["SHAPE_MENDERS"]


def _mend_shape(call: Call, keep: Keep) -> None:
    """`view`, `reshape`, `expand`, …: sizes that are numbers become the new sizes.

    A size that depends on the batch and has channels merged into it becomes -1, which a reshape works out. A view
    becomes a reshape: attention lays its outputs out as its queries only while the heads of both have one size.
    """
    name = "shape" if "shape" in call.args else "size"
    shape = call.node.meta["val"].shape
    sizes = _new_sizes(call, list(call.args[name]), list(shape), keep)
    set_argument(call.node, name, sizes)
    if call.node.target is torch.ops.aten.view.default:
        call.node.target = torch.ops.aten.reshape.default
        call.node.args, call.node.kwargs = (call.args["self"], sizes), {}


def _mend_unflatten(call: Call, keep: Keep) -> None:
    given = list(call.args["sizes"])
    rank = len(call.shapes[0])
    start = int(call.args["dim"]) % (rank - len(given) + 1)
    shape = [*call.node.meta["val"].shape]
    new = _new_sizes(call, [*shape[:start], *given, *shape[start + len(given) :]], shape, keep)
    set_argument(call.node, "sizes", new[start : start + len(given)])


def _new_sizes(call: Call, given: list[Any], shape: list[Any], keep: Keep) -> list[Any]:
    axes = call.trace.axes[call.node][0]
    made = []
    for old, size, axis in zip(given, shape, axes, strict=True):
        kept = keep.count(axis)
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
        keep.count(axis) if isinstance(size, int) and old != -1 else old
        for old, size, axis in zip(given, shape, axes, strict=True)
    ]
    set_argument(call.node, "size", sizes)


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
        call.node.args = (call.args["self"], [keep.count(axes[dim]) for axes in parts], dim)
        call.node.kwargs = {}


def _mend_slice(call: Call, keep: Keep) -> None:
    axis = call.tensors()[0][int(call.args["dim"])]
    mask = keep(axis)
    if mask.all():
        return
    start, end, _ = slice(call.args.get("start"), call.args.get("end")).indices(len(axis))
    set_argument(call.node, "start", int(mask[:start].sum()))
    set_argument(call.node, "end", int(mask[:end].sum()))


def _mend_fill(call: Call, keep: Keep) -> None:
    axes = call.trace.axes[call.node][0]
    known = call.node.meta["val"].shape
    set_argument(
        call.node,
        "size",
        [
            keep.count(axis) if isinstance(size, int) else old
            for old, size, axis in zip(call.args["size"], known, axes, strict=True)
        ],
    )


def _mend_select(call: Call, keep: Keep) -> None:
    axes = call.tensors()[0]
    axis, index = axes[int(call.args["dim"]) % len(axes)], call.args["index"]
    if isinstance(index, int) and not keep(axis).all():
        set_argument(call.node, "index", int(keep(axis)[: index % len(axis)].sum()))


def _mend_index(call: Call, keep: Keep) -> None:
    """`index_select` by a constant: the numbers of those left, among those left."""
    axes, index = call.axes("self"), constant_index(call)
    mask = keep(axes[int(call.args["dim"]) % len(axes)])
    module = call.node.graph.owning_module
    if index is None or mask.all() or module is None:
        return
    places = (np.cumsum(mask) - 1)[index[mask[index]]]
    name = f"{call.node.name}_numbers"
    module.register_buffer(name, torch.from_numpy(places))
    with call.node.graph.inserting_before(call.node):
        set_argument(call.node, "index", call.node.graph.get_attr(name))


SHAPE_MENDERS: dict[str, Callable[[Call, Keep], None]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_copy"), _mend_shape),
    "unflatten": _mend_unflatten,
    **dict.fromkeys(("expand", "broadcast_to"), _mend_expand),
    **dict.fromkeys(("squeeze", "squeeze_copy"), _mend_squeeze),
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), _mend_split),
    **dict.fromkeys(("slice", "slice_copy"), _mend_slice),
    **dict.fromkeys(("zeros", "ones", "full", "new_zeros", "new_ones", "new_full"), _mend_fill),
    "select": _mend_select,
    "index_select": _mend_index,
}
"""By operator."""
