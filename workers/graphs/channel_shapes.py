"""Channel rules of what moves, joins or resizes dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from workers.graphs.calls import Axes, Call, Split, fixed
from workers.graphs.channel_layers import unknown
from workers.graphs.labels import LabelArray

__all__ = ["SHAPE_RULES"]


def reshape(call: Call) -> tuple[Axes, ...]:
    """Any reshape: dimensions are matched from the left in runs with equal products.

    1. A run of one dimension on both sides keeps its labels.
    2. Dimensions that are merged repeat the labels of the one among them that has channels.
    3. A labelled dimension that is split keeps its channels on one of the parts. Where several could carry them, the
       walk's `chosen` decides (by default the largest), and `choices` notes what else there was.
    """
    before = next(iter(call.tensors()))
    made: list[LabelArray] = []
    for old, new in _runs([len(axis) for axis in before], call.shapes[0]):
        axes, sizes = before[old], call.shapes[0][new]
        if len(axes) == 1 and len(sizes) == 1:
            made.append(axes[0])
        else:
            made.extend(_split(call, _merge(call, axes), (tuple(map(len, axes)), sizes)))
    return (tuple(made),)


def _runs(before: list[int], after: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    i = j = 0
    while i < len(before) or j < len(after):
        start = (i, j)
        left, right = 1, 1
        if i < len(before):
            left, i = before[i], i + 1
        if j < len(after):
            right, j = after[j], j + 1
        while left != right:
            if left < right:
                left, i = left * before[i], i + 1
            else:
                right, j = right * after[j], j + 1
        yield slice(start[0], i), slice(start[1], j)


def _merge(call: Call, axes: Axes) -> LabelArray:
    live = [place for place, axis in enumerate(axes) if call.labels.free(axis).any()]
    if len(live) > 1:
        for place in live:
            call.freeze(axes[place], "merges two dimensions with channels")
    if len(live) != 1:
        return fixed([math.prod(map(len, axes))])[0]
    shape = [1] * len(axes)
    shape[live[0]] = -1
    return np.broadcast_to(axes[live[0]].reshape(shape), [len(axis) for axis in axes]).reshape(-1)


def _split(call: Call, flat: LabelArray, split: Split) -> list[LabelArray]:
    sizes = split[1]
    made = list(fixed(sizes))
    places = [place for place, size in enumerate(sizes) if size > 1]
    if not places or not call.labels.free(flat).any():
        return made
    carrier = _carrier(call, flat, split, places)
    rows = np.moveaxis(flat.reshape(sizes), carrier, 0).reshape(sizes[carrier], -1)
    made[carrier] = np.ascontiguousarray(rows[:, 0])
    call.tie(np.repeat(rows[:, 0], rows.shape[1]), rows.reshape(-1))
    return made


def _carrier(call: Call, flat: LabelArray, split: Split, places: list[int]) -> int:
    sizes = split[1]
    grid = call.labels.roots(flat).reshape(sizes)
    for place in places:
        rows = np.moveaxis(grid, place, 0).reshape(sizes[place], -1)
        if (rows == rows[:, :1]).all():
            return place  # it already is a dimension of its own, as after a flatten
    call.trace.choices[split] = tuple(places)
    return call.trace.chosen.get(split, max(places, key=lambda place: sizes[place]))


def permute(call: Call) -> tuple[Axes, ...]:
    """Labels move with their dimensions."""
    axes = next(iter(call.tensors()))
    order = list(range(len(axes)))
    if call.name in ("t", "numpy_T"):
        order.reverse()
    elif call.name == "transpose":
        first, second = call.args["dim0"], call.args["dim1"]
        order[first], order[second] = order[second], order[first]
    else:
        order = [int(dim) for dim in call.args["dims"]]
    return (tuple(axes[dim] for dim in order),)


def concatenate(call: Call) -> tuple[Axes, ...]:
    """Along the dimension labels follow each other; the other dimensions are tied."""
    parts = [call.trace.axes[node][0] for node in call.args["tensors"]]
    parts = [part for part in parts if len(part) == len(call.shapes[0])]
    dim = int(call.args["dim"]) % len(parts[0])
    made = list(parts[0])
    for part in parts[1:]:
        for place, axis in enumerate(part):
            if place != dim:
                call.tie(made[place], axis)
    made[dim] = np.concatenate([part[dim] for part in parts])
    return (tuple(made),)


def stack(call: Call) -> tuple[Axes, ...]:
    """All dimensions are tied, and a new one stands among them."""
    parts = [call.trace.axes[node][0] for node in call.args["tensors"]]
    dim = int(call.args["dim"]) % (len(parts[0]) + 1)
    for part in parts[1:]:
        for one, other in zip(parts[0], part, strict=True):
            call.tie(one, other)
    return ((*parts[0][:dim], *fixed([len(parts)]), *parts[0][dim:]),)


def split(call: Call) -> tuple[Axes, ...]:
    """`split`, `split_with_sizes`, `chunk`, `tensor_split`: each part takes the next labels."""
    axes = next(iter(call.tensors()))
    dim = int(call.args["dim"]) % len(axes)
    made, start = [], 0
    for shape in call.shapes:
        made.append((*axes[:dim], axes[dim][start : start + shape[dim]], *axes[dim + 1 :]))
        start += shape[dim]
    return tuple(made)


def repeat(call: Call) -> tuple[Axes, ...]:
    """Labels repeat; new dimensions have none."""
    axes, counts = next(iter(call.tensors())), call.args["repeats"]
    made = list(fixed(call.shapes[0]))
    for place in range(-len(axes), 0):
        if isinstance(counts[place], int):
            made[place] = np.tile(axes[place], counts[place])
        else:
            call.freeze(axes[place], "repeats it a number of times that is not known before")
    return (tuple(made),)


def repeat_each(call: Call) -> tuple[Axes, ...]:
    """Each label comes several times in a row, as the keys of grouped queries do."""
    axes, dim, count = next(iter(call.tensors())), call.args.get("dim"), call.args.get("repeats")
    if not isinstance(dim, int) or not isinstance(count, int):
        return unknown(call)
    dim %= len(axes)
    return ((*axes[:dim], np.repeat(axes[dim], count), *axes[dim + 1 :]),)


def flip(call: Call) -> tuple[Axes, ...]:
    """Labels in reverse order."""
    made = list(next(iter(call.tensors())))
    for dim in call.args["dims"]:
        made[dim] = made[dim][::-1]
    return (tuple(made),)


def gated(call: Call) -> tuple[Axes, ...]:
    """`glu`: the second half gates the first, channel by channel."""
    axes = list(call.axes("self"))
    dim = int(call.args["dim"]) % len(axes)
    values, gates = np.split(axes[dim], 2)
    call.tie(values, gates)
    axes[dim] = values
    return (tuple(axes),)


def reshape_like(call: Call) -> tuple[Axes, ...]:
    """`reshape_as`: a reshape to the sizes of another tensor, whose channels it must keep then."""
    (made,) = reshape(call)
    for axis, other in zip(made, call.axes("other"), strict=True):
        call.tie(axis, other)
    return (made,)


def resize(call: Call) -> tuple[Axes, ...]:
    """Pooling and interpolation: dimensions whose size may change stay, the others keep their labels.

    The digit in the operator's name says how many trailing dimensions are meant.
    """
    axes = next(iter(call.tensors()))
    count = next(int(letter) for letter in call.name if letter.isdigit())
    for axis in axes[len(axes) - count :]:
        call.freeze(axis, _AS_ON_PIXELS)
    return tuple((*axes[: len(axes) - count], *fixed(shape[len(axes) - count :])) for shape in call.shapes)


def pad(call: Call) -> tuple[Axes, ...]:
    """Two numbers for each dimension, the last one first: where both are 0 labels are kept."""
    made = list(next(iter(call.tensors())))
    widths = call.args["pad"] if "pad" in call.args else call.args["padding"]
    for number, pair in enumerate(zip(widths[::2], widths[1::2], strict=True), start=1):
        if pair != (0, 0):
            call.freeze(made[-number], _AS_ON_PIXELS)
            made[-number] = fixed([call.shapes[0][-number]])[0]
    return (tuple(made),)


def roll(call: Call) -> tuple[Axes, ...]:
    """Dimensions that are rolled stay, the others keep their labels; without any it rolls all of them as one."""
    axes = next(iter(call.tensors()))
    for dim in call.args["dims"] or range(len(axes)):
        call.freeze(axes[int(dim)], "moves channels by a fixed number of places")
    return (axes,)


def along(call: Call) -> tuple[Axes, ...]:
    """Softmax, cumulative sums, sorting: the dimension it runs along stays, the others keep their labels."""
    axes = list(next(iter(call.tensors())))
    if axes:
        dim = int(call.args["dim"]) % len(axes)
        call.freeze(axes[dim], "depends on all channels at once")
        if len(axes[dim]) != call.shapes[0][dim]:
            axes[dim] = fixed([call.shapes[0][dim]])[0]
    return tuple(tuple(axes) for _ in call.shapes)


def pixel_shuffle(call: Call) -> tuple[Axes, ...]:
    """Each r × r channels become the pixels of one."""
    axes, factor = call.axes("self"), int(call.args["upscale_factor"])
    blocks = axes[-3].reshape(-1, factor * factor)
    call.tie(np.repeat(blocks[:, 0], factor * factor), blocks.reshape(-1))
    return ((*axes[:-3], np.ascontiguousarray(blocks[:, 0]), *fixed(call.shapes[0][-2:])),)


def pixel_unshuffle(call: Call) -> tuple[Axes, ...]:
    """Each channel becomes r × r."""
    axes, factor = call.axes("self"), int(call.args["downscale_factor"])
    return ((*axes[:-3], np.repeat(axes[-3], factor * factor), *fixed(call.shapes[0][-2:])),)


_RESIZING = (
    *(f"{kind}{n}d" for kind in ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool") for n in (1, 2, 3)),
    *("max_pool2d_with_indices", "max_pool3d_with_indices", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d"),
    *("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d"),
    *(f"upsample_nearest{n}d" for n in (1, 2, 3)),
)
_PADDING = (
    *("constant_pad_nd", "pad"),
    *(f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)),
)
_AS_ON_PIXELS = "works along it as on pixels"

SHAPE_RULES: dict[str, Callable[[Call], tuple[Axes, ...]]] = {
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "view_copy", "flatten", "unflatten"), reshape),
    **dict.fromkeys(("squeeze", "squeeze_copy", "unsqueeze", "unsqueeze_copy"), reshape),
    **dict.fromkeys(("t", "numpy_T", "transpose", "permute"), permute),
    **dict.fromkeys(("cat", "concat"), concatenate),
    "stack": stack,
    **dict.fromkeys(("split", "split_with_sizes", "chunk"), split),
    "repeat": repeat,
    "repeat_interleave": repeat_each,
    "flip": flip,
    "glu": gated,
    **dict.fromkeys(("reshape_as", "view_as"), reshape_like),
    **dict.fromkeys(_RESIZING, resize),
    **dict.fromkeys(_PADDING, pad),
    "roll": roll,
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod", "sort", "topk"), along),
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
}
