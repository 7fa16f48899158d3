"""Weights of few bits as XNNPACK's kernels for linear layers take them: `qc8w`, `qc4w` and `qb4w`.

Such a kernel reads an input that is rounded row by row when the model runs (`qd8`), and one of

    codes of 8 bits, a scale per output channel      quantized_decomposed.dequantize_per_channel
    codes of 4 bits, a scale per output channel      the same, with a range of -8 … 7
    codes of 4 bits, a scale per group               quantized_decomposed.dequantize_per_channel_group

1. Zero points there are none: codes are symmetric. Groups have a multiple of 32 columns.
2. Codes of 3 and 2 bits are codes of 4 bits.
3. Scales are positive; those of `low_bit.py` may be negative, where the code without a counterpart (-8) stands for the
   greatest weight. A row whose scale is negative is stored with that of the opposite sign, and so gives the opposite of
   its output: its bias changes its sign, and the output is multiplied by -1. Nothing is lost.
4. Where the groups of a row differ in sign, the row has the sign by which the least is lost, and in the other groups
   the codes change their signs. One that has no counterpart is rounded again with its group, by the scale with the
   least squared error.
5. Scales of groups are stored in bfloat16, by ExecuTorch itself.
6. Columns that fill the last group are zero, and the input gets as many zeros: they change neither product nor range.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from workers.graphs.low_bit import LowBitWeight, constant_node
from workers.graphs.stored_values import stored_tensor

__all__ = ["give_weight", "pad_input", "weight_reason"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed
_BLOCK = 32
_STEPS = 9
"""Scales that are tried for a group of which a code doesn't fit, from its own to the one by which all do."""


def weight_reason(weight: LowBitWeight) -> str | None:
    """Why no kernel takes a weight; `None`: one does."""
    if weight.zeros is not None and bool(weight.zeros.any()):
        return "XNNPACK takes no zero points: `symmetric: true`"
    if _is_per_channel(weight):
        return None
    if weight.bits == 8:
        return "XNNPACK takes 8 bits with a scale per output channel alone: leave `group` out"
    if weight.group % _BLOCK:
        return f"XNNPACK takes groups of {_BLOCK} and its multiples"
    return None


def give_weight(module: GraphModule, layer: Node, weight: LowBitWeight) -> str:
    """Lets a linear layer read a weight that `weight_reason` has nothing against.

    Returns:
        how it is held, in words.
    """
    bits = 8 if weight.bits == 8 else 4
    most = 2 ** (bits - 1) - 1
    made = _positive(weight, most)
    last, codes, scales = layer.args[1], made.codes, made.scales
    assert isinstance(last, Node)
    if _is_per_channel(weight):
        codes, scales = codes[:, : weight.columns_used], scales[:, 0]
    stored: list[Node] = []
    zeros = torch.zeros_like(scales, dtype=torch.int64)
    for part, tensor in (("codes", codes), ("scales", scales), ("zeros", zeros)):
        last = constant_node(module, last, f"{layer.name}_{part}", tensor)
        stored.append(last)
    bounds = (-most - 1, most, torch.int8)
    if _is_per_channel(weight):
        new = _call(module, last, ops.dequantize_per_channel.default, (*stored, 0, *bounds))
    else:
        arguments = (*stored, *bounds, weight.group, torch.float32)
        new = _call(module, last, ops.dequantize_per_channel_group.default, arguments)
    layer.update_arg(1, new)
    if bool((made.signs < 0).any()):
        _turn(module, layer, made.signs)
    return f"in int8, weights held in {bits} bits" + (", some groups rounded again" if made.lossy else "")


def pad_input(module: GraphModule, layer: Node) -> None:
    """Gives a linear layer's input zeros up to as many columns as its weight is stored with."""
    source, weight = layer.args[:2]
    assert isinstance(source, Node)
    assert isinstance(weight, Node)
    columns = stored_tensor(module, weight.args[0]).shape[1]
    missing = columns - int(source.meta["val"].shape[-1])
    if missing:
        layer.update_arg(0, _padded(module, source, missing))


def _padded(module: GraphModule, source: Node, missing: int) -> Node:
    """Layers that read the same tensor share its padded copy."""
    arguments = (source, [0, missing], 0.0)
    known = (user for user in source.users if user.target is aten.constant_pad_nd.default and user.args == arguments)
    return next(known, None) or _call(module, source, aten.constant_pad_nd.default, arguments)


def _turn(module: GraphModule, layer: Node, signs: torch.Tensor) -> None:
    """Multiplies what a layer gives by `signs`, one for each output, and its bias before."""
    constant = constant_node(module, layer, f"{layer.name}_signs", signs)
    turned = _call(module, constant, aten.mul.Tensor, (layer, constant))
    layer.replace_all_uses_with(turned, delete_user_cb=lambda user: user is not turned)
    if len(layer.args) > 2 and layer.args[2] is not None:
        weight = layer.args[1]
        assert isinstance(weight, Node)
        bias = stored_tensor(module, layer.args[2]).detach() * signs
        layer.update_arg(2, constant_node(module, weight, f"{layer.name}_bias", bias))


@dataclass(frozen=True)
class _Positive:
    """A weight without negative scales: `codes * scales`, row by row times `signs`."""

    codes: torch.Tensor
    scales: torch.Tensor
    signs: torch.Tensor
    """float32 of shape (outputs,): 1 or -1."""
    lossy: bool
    """True if it is not exactly the weight that it is made of."""


def _positive(weight: LowBitWeight, most: int) -> _Positive:
    """Rules 3 and 4, with codes from `-most - 1` to `most`."""
    scales = weight.scales.abs()
    empty = scales < torch.finfo(torch.float32).tiny  # XNNPACK takes no scale of zero
    grouped = weight.codes.reshape(*scales.shape, -1).float() * weight.scales.sign()[..., None]
    grouped, scales = grouped.masked_fill(empty[..., None], 0.0), scales.masked_fill(empty, 1.0)
    (plain, plain_factors, plain_errors), (turned, turned_factors, turned_errors) = (
        _fitted(values, most) for values in (grouped, -grouped)
    )
    lost, lost_turned = ((errors * scales.square()).sum(1) for errors in (plain_errors, turned_errors))
    better = lost_turned < lost
    codes = torch.where(better[:, None, None], turned, plain)
    factors = torch.where(better[:, None], turned_factors, plain_factors)
    return _Positive(
        codes.to(torch.int8).reshape(weight.codes.shape),
        scales * factors,
        1.0 - 2.0 * better.float(),
        bool((torch.minimum(lost, lost_turned) > 0).any()),
    )


def _fitted(values: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes within the range for whole numbers, what their scale is raised by, and the squared error of each group."""
    codes, factors = values.clamp(-most - 1, most), torch.ones(values.shape[:2])
    errors = (codes - values).square().sum(-1)
    for factor in torch.linspace(1.0, (most + 1) / most, _STEPS).tolist()[1:]:
        tried = (values / factor).round().clamp(-most - 1, most)
        error = (tried * factor - values).square().sum(-1)
        better = error < errors
        codes = torch.where(better[..., None], tried, codes)
        factors, errors = factors.masked_fill(better, factor), torch.minimum(errors, error)
    return codes, factors, errors


def _is_per_channel(weight: LowBitWeight) -> bool:
    return weight.group == weight.codes.shape[1]


def _call(module: GraphModule, after: Node, target: object, arguments: tuple[object, ...]) -> Node:
    with module.graph.inserting_after(after):
        return module.graph.call_function(target, arguments)  # type: ignore[arg-type]
