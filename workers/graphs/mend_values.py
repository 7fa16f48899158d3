"""Menders of calls whose result depends on how many channels there are: groups, means, and normalizations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from workers.graphs.calls import Axes, Call
from workers.graphs.mend import Keep, set_argument
from workers.graphs.stored_values import attribute, set_attribute

__all__ = ["VALUE_MENDERS"]


def _mend_groups(call: Call, keep: Keep) -> None:
    groups = int(call.args["groups"])
    weight = call.axes("weight")
    if groups > 1 and len(weight[1]) == 1:
        set_argument(call.node, "groups", keep.count(weight[0]) * groups // len(weight[0]))


def _mend_transposed_groups(call: Call, keep: Keep) -> None:
    groups, taken = int(call.args["groups"]), call.axes("weight")[0]
    if groups > 1 and groups == len(taken):
        set_argument(call.node, "groups", keep.count(taken))


def _mend_any_groups(call: Call, keep: Keep) -> None:
    (_mend_transposed_groups if call.args["transposed"] else _mend_groups)(call, keep)


def _mend_group_norm(call: Call, keep: Keep) -> None:
    """Groups go as a whole, so the number of groups falls and their size stays."""
    axis = call.axes("input")[1]
    name = "num_groups" if "num_groups" in call.args else "group"
    set_argument(call.node, name, int(call.args[name]) * keep.count(axis) // len(axis))
    if "C" in call.args:
        set_argument(call.node, "C", keep.count(axis))


def _mend_joint_norm(call: Call, keep: Keep) -> None:
    """As if the removed channels were zero and still counted; see `channel_norms.rms_norm`."""
    shape = call.args["normalized_shape"]
    taken = call.axes("input")[-len(shape) :]
    share = _share(taken, keep)
    if share == 1.0:
        return
    set_argument(call.node, "normalized_shape", [keep.count(axis) for axis in taken])
    epsilon = call.args["eps"]
    if epsilon is None:
        epsilon = torch.finfo(call.node.meta["val"].dtype).eps
    set_argument(call.node, "eps", epsilon / share)
    if call.given("weight"):
        _scale(call, str(call.args["weight"].target), share**-0.5, keep)
    else:
        _multiply(call, share**-0.5)


def _scale(call: Call, name: str, factor: float, keep: Keep) -> None:
    module = call.node.graph.owning_module
    assert module is not None
    if name in keep.scaled:
        return
    keep.scaled.add(name)
    weight = attribute(module, name)
    assert isinstance(weight, torch.Tensor)
    scaled: Any = weight.detach() * factor
    if isinstance(weight, torch.nn.Parameter):
        scaled = torch.nn.Parameter(scaled, weight.requires_grad)
    set_attribute(module, name, scaled)


def _mend_mean(call: Call, keep: Keep) -> None:
    """A mean divides by the number of channels: those at zero counted too."""
    axes = call.tensors()[0]
    dims = call.args.get("dim")
    listed = range(len(axes)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    share = _share(tuple(axes[int(dim)] for dim in listed), keep)
    if share != 1.0:
        _multiply(call, share)


def _share(axes: Axes, keep: Keep) -> float:
    share = 1.0
    for axis in axes:
        share *= keep.count(axis) / len(axis)
    return share


def _multiply(call: Call, factor: float) -> None:
    node = call.node
    with node.graph.inserting_after(node):
        scaled = node.graph.call_function(torch.ops.aten.mul.Tensor, (node, factor))
    call.trace.axes[scaled] = call.trace.axes[node]
    node.replace_all_uses_with(scaled, delete_user_cb=lambda user: user is not scaled)


VALUE_MENDERS: dict[str, Callable[[Call, Keep], None]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _mend_groups),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _mend_transposed_groups),
    "convolution": _mend_any_groups,
    **dict.fromkeys(("group_norm", "native_group_norm"), _mend_group_norm),
    **dict.fromkeys(("rms_norm", "layer_norm", "native_layer_norm"), _mend_joint_norm),
    "mean": _mend_mean,
}
"""By operator."""
