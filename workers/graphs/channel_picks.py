"""Channel rules of what takes out, looks up or sums over part of a tensor."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.fx import Node

from workers.graphs.calls import Axes, Call, fixed
from workers.graphs.channel_layers import unknown
from workers.graphs.channel_zeros import vanishes
from workers.graphs.labels import LabelArray
from workers.graphs.stored_values import attribute

__all__ = ["PICK_RULES", "constant_index"]


def cut(call: Call) -> tuple[Axes, ...]:
    """A slice takes part of the labels; with a step, or with ends that depend on the batch, all of them stay."""
    axes = next(iter(call.tensors()))
    dim = int(call.args["dim"]) % len(axes)
    start, end, step = call.args.get("start"), call.args.get("end"), call.args["step"]
    if step != 1 or isinstance(start, Node) or isinstance(end, Node):
        call.freeze(axes[dim], "takes channels by a rule that depends on their number")
        taken = fixed([call.shapes[0][dim]])[0]
    else:
        taken = axes[dim][start:end]
    return ((*axes[:dim], taken, *axes[dim + 1 :]),)


def select(call: Call) -> tuple[Axes, ...]:
    """Takes one channel by its number, which stays; the others may go, and the number changes with them."""
    axes, index = next(iter(call.tensors())), call.args["index"]
    dim = int(call.args["dim"]) % len(axes)
    stacked = call.trace.stacked.get(call.args["self"])
    if stacked is not None and dim == 0 and isinstance(index, int):
        return ((*axes[1:-1], stacked[index]),)
    picked = axes[dim][index : index + 1 or None] if isinstance(index, int) else axes[dim]
    call.freeze(picked, "picks single channels by number")
    return ((*axes[:dim], *axes[dim + 1 :]),)


def unbind(call: Call) -> tuple[Axes, ...]:
    """Makes a tensor of each channel, so that none can go."""
    axes = next(iter(call.tensors()))
    dim = int(call.args["dim"]) % len(axes)
    call.freeze(axes[dim], "picks single channels by number")
    return tuple((*axes[:dim], *axes[dim + 1 :]) for _ in call.shapes)


def gather(call: Call) -> tuple[Axes, ...]:
    """Looks up along one dimension, which stays; the others are tied to those of the index."""
    axes, index = call.axes("self"), call.axes("index")
    dim = int(call.args["dim"]) % len(axes)
    made = list(index)
    for axis in (axes[dim], index[dim]):
        call.freeze(axis, "looks channels up by number")
    for place, (own, other) in enumerate(zip(axes, index, strict=True)):
        if place == dim:
            made[place] = fixed([len(other)])[0]
        elif len(own) == len(other):
            call.tie(own, other)
        else:
            call.freeze(own, "takes channels by a rule that depends on their number")
            call.freeze(other, "takes channels by a rule that depends on their number")
    return (tuple(made),)


def index_select(call: Call) -> tuple[Axes, ...]:
    """Looks up along one dimension. Where the numbers are a constant, labels are looked up too: a fixed shuffle."""
    axes, index = call.axes("self"), constant_index(call)
    dim = int(call.args["dim"]) % len(axes)
    if index is None:
        call.freeze(axes[dim], "looks channels up by number")
        taken: LabelArray = fixed([call.shapes[0][dim]])[0]
    else:
        taken = axes[dim][index]
    return ((*axes[:dim], taken, *axes[dim + 1 :]),)


def constant_index(call: Call) -> LabelArray | None:
    """The numbers that `index_select` reads, if they are stored in the model."""
    node = call.args["index"]
    module = call.node.graph.owning_module
    if not isinstance(node, Node) or node.op != "get_attr" or module is None:
        return None
    tensor = attribute(module, str(node.target))
    return np.atleast_1d(tensor.numpy()).astype(np.int64) if isinstance(tensor, torch.Tensor) else None


def index(call: Call) -> tuple[Axes, ...]:
    """Advanced indexing: what is indexed stays, the rest keeps its labels. Indices stand side by side, or all stay."""
    axes, places = call.axes("self"), list(call.args["indices"])
    used = [place for place, each in enumerate(places) if each is not None]
    if not used or used != list(range(used[0], used[-1] + 1)):
        return unknown(call)
    for place in used:
        call.freeze(axes[place], "looks channels up by number")
        for axis in call.trace.axes[places[place]][0]:
            call.freeze(axis, "looks channels up by number")
    after = axes[used[-1] + 1 :]
    shape = call.shapes[0]
    return ((*axes[: used[0]], *fixed(shape[used[0] : len(shape) - len(after)]), *after),)


def write(call: Call) -> tuple[Axes, ...]:
    """`slice_scatter` and `select_scatter`: part of one dimension, which stays, is replaced; the others are tied."""
    axes, written = call.axes("self"), list(call.axes("src"))
    dim = int(call.args["dim"]) % len(axes)
    if call.name == "select_scatter":
        written.insert(dim, axes[dim])
    for place, (own, other) in enumerate(zip(axes, written, strict=True)):
        if place == dim:
            call.freeze(own, "writes to channels by number")
            call.freeze(other, "writes to channels by number")
        else:
            call.tie(own, other)
    return (axes,)


def reduce(call: Call) -> tuple[Axes, ...]:
    """Means, sums, extremes: over pixels or tokens channels are untouched.

    Over channels they all stay, but for sums, means and Euclidean norms of channels that would add zero.
    """
    axes = next(iter(call.tensors()))
    dims = call.args.get("dim")
    listed = range(len(axes)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    gone = {int(dim) % max(len(axes), 1) for dim in listed}
    for dim in gone:
        linear = call.name in ("mean", "sum") or (call.name == "linalg_vector_norm" and call.args["ord"] == 2)
        if not linear or (call.labels.free(axes[dim]).any() and not vanishes(call.node.args[0], dim, call.trace)):
            call.freeze(axes[dim], "sums up all channels")
    single = fixed([1])[0]
    if call.args.get("keepdim"):
        made = tuple(single if dim in gone else axis for dim, axis in enumerate(axes))
    else:
        made = tuple(axis for dim, axis in enumerate(axes) if dim not in gone)
    return tuple(made for _ in call.shapes)


_REDUCING = ("mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean", "argmax", "argmin",
             "any", "all", "prod", "logsumexp", "linalg_vector_norm")  # fmt: skip

PICK_RULES: dict[str, Callable[[Call], tuple[Axes, ...]]] = {
    **dict.fromkeys(("slice", "slice_copy"), cut),
    "select": select,
    "unbind": unbind,
    "gather": gather,
    "index_select": index_select,
    "index": index,
    **dict.fromkeys(("slice_scatter", "select_scatter"), write),
    **dict.fromkeys(_REDUCING, reduce),
}
