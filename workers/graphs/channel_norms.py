"""Channel rules of normalizations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from workers.graphs.calls import Axes, Call, fixed
from workers.graphs.channel_zeros import vanishes

__all__ = ["NORM_RULES", "OVER_ALL"]

OVER_ALL = "takes its statistics over all channels"


def channel_norm(call: Call) -> tuple[Axes, ...]:
    """Batch and instance norm: weight, bias and statistics belong to the channel (dimension 1)."""
    x = call.axes("input")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call.given(name):
            call.tie(x[1], call.axes(name)[0])
    if call.given("weight"):
        call.trace.scales.append(call.axes("weight")[0])
    return _normalized(call, x)


def group_norm(call: Call) -> tuple[Axes, ...]:
    """Statistics over the channels of one group: whole groups go, which leaves those of the others as they were."""
    x = call.axes("input")
    groups = int(call.args["num_groups" if "num_groups" in call.args else "group"])
    if groups == 1:
        return _frozen(call, (x[1],))
    first = x[1].reshape(groups, -1)[:, 0]
    call.tie(np.repeat(first, len(x[1]) // groups), x[1])
    for name in ("weight", "bias"):
        if call.given(name):
            call.tie(x[1], call.axes(name)[0])
    return _normalized(call, x)


def rms_norm(call: Call) -> tuple[Axes, ...]:
    """The mean square over all channels. A channel at zero only makes it smaller by a known factor.

    With C of N channels left, the norm over N (Zhang and Sennrich 2019, arXiv:1910.07467) is the norm over C with its
    weight times sqrt(N / C) and its epsilon times N / C.
    """
    x = call.axes("input")
    taken = x[-len(call.args["normalized_shape"]) :]
    dims = range(len(x) - len(taken), len(x))
    if not all(vanishes(call.args["input"], dim, call.trace) for dim in dims if call.labels.free(x[dim]).any()):
        return _frozen(call, taken)
    return _rescaled(call, taken)


def layer_norm(call: Call) -> tuple[Axes, ...]:
    """Mean and variance over all channels: removing some changes all others.

    With `rescale` they go all the same, by the rule of `rms_norm`: right where the mean over those left is zero.
    """
    taken = call.axes("input")[-len(call.args["normalized_shape"]) :]
    if call.trace.rescale:
        return _rescaled(call, taken)
    return _frozen(call, taken, f"{OVER_ALL} (set `layer_norm: rescale` to let them go)")


def _rescaled(call: Call, taken: Axes) -> tuple[Axes, ...]:
    for name in ("weight", "bias"):
        if call.given(name):
            for axis, own in zip(taken, call.axes(name), strict=True):
                call.tie(axis, own)
    return _normalized(call, call.axes("input"))


def _frozen(call: Call, taken: Axes, why: str = OVER_ALL) -> tuple[Axes, ...]:
    own = [axis for name in ("weight", "bias") if call.given(name) for axis in call.axes(name)]
    for axis in (*taken, *own):
        call.freeze(axis, why)
    return _normalized(call, call.axes("input"))


def _normalized(call: Call, x: Axes) -> tuple[Axes, ...]:
    return (x, *(fixed(other) for other in call.shapes[1:]))


NORM_RULES: dict[str, Callable[[Call], tuple[Axes, ...]]] = {
    **dict.fromkeys(
        ("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "instance_norm"), channel_norm
    ),
    **dict.fromkeys(("group_norm", "native_group_norm"), group_norm),
    **dict.fromkeys(("layer_norm", "native_layer_norm"), layer_norm),
    "rms_norm": rms_norm,
}
