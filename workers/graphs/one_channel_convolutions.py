"""Convolutions over one channel, which Inductor gets wrong in int8, over four."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from workers.graphs.convolution_geometry import CONVOLUTIONS
from workers.graphs.stored_values import stored_tensor

__all__ = ["is_ambiguous", "widen_one_channel_convolutions"]

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed

CHANNELS = 4
"""What the kernels pad to in any case: they multiply int8 in fours."""


def widen_one_channel_convolutions(module: GraphModule) -> int:
    """Adds channels of zeros to the input and weights of each one-channel int8 convolution, in place; returns how many.

    With a dynamic batch, Inductor (torch 2.13) lays out a convolution's weights by the memory format of its input,
    which can't be told where there is one channel: the strides fit both formats. The artifact's answers are garbage.
    Three more channels of zeros settle the format, and change no sum.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target in CONVOLUTIONS and _is_one_channel(module, node):
            source, weight = node.args[:2]
            node.replace_input_with(source, _widened_input(module, node, source))
            node.replace_input_with(weight, _widened_weight(module, node, weight))
            count += 1
    if count:
        module.graph.eliminate_dead_code()
        module.recompile()
    return count


def is_ambiguous(shape: torch.Size) -> bool:
    """True if an input of this shape (batch, channels, …) has the same strides in both memory formats."""
    return bool(shape[1] == 1) or all(size == 1 for size in shape[2:])


def _is_one_channel(module: GraphModule, layer: Node) -> bool:
    """True for an int8 convolution whose input has one channel (for a depthwise one, only its weights have)."""
    source, weight = layer.args[:2]
    groups = layer.args[6] if len(layer.args) > 6 else layer.kwargs.get("groups", 1)
    assert isinstance(source, Node)
    assert isinstance(weight, Node)
    if source.target is not quantized.dequantize_per_tensor.default or groups != 1:
        return False
    return weight.target is quantized.dequantize_per_channel.default and _narrow(module, weight).shape[1] == 1


def _narrow(module: GraphModule, weight: Node) -> torch.Tensor:
    """The int8 constant behind the dequantization `weight`, of shape (outputs, inputs / groups, …)."""
    return stored_tensor(module, weight.args[0])


def _widened_input(module: GraphModule, layer: Node, source: Node) -> Node:
    """The int8 tensor behind `source`, with channels of its zero point added, dequantized as `source` is."""
    tensor, _, zero_point, *_ = source.args
    pads = [0, 0] * (source.meta["val"].dim() - 2) + [0, CHANNELS - 1]
    with module.graph.inserting_before(layer):
        wide = module.graph.call_function(aten.constant_pad_nd.default, (tensor, pads, zero_point))
        return module.graph.call_function(source.target, (wide, *source.args[1:]), source.kwargs)  # type: ignore[arg-type]


def _widened_weight(module: GraphModule, layer: Node, weight: Node) -> Node:
    """`weight` with input channels of zeros added to its int8 constant."""
    narrow = _narrow(module, weight)
    name = f"{layer.name}_wide_weight"
    module.register_buffer(name, torch.cat([narrow, *[torch.zeros_like(narrow)] * (CHANNELS - 1)], dim=1))
    with module.graph.inserting_before(layer):
        wide = module.graph.get_attr(name)
        return module.graph.call_function(weight.target, (wide, *weight.args[1:]), weight.kwargs)  # type: ignore[arg-type]
