"""Convolutions that Inductor gets wrong in int8, computed in float from the same numbers."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

__all__ = ["is_ambiguous", "keep_ambiguous_convolutions_float"]

aten = torch.ops.aten


def keep_ambiguous_convolutions_float(module: GraphModule) -> list[str]:
    """Stores the weights of ambiguous int8 convolutions as float, in place; returns the names of their weights.

    With a dynamic batch, Inductor (torch 2.13) packs the weights of a convolution by a memory format that it can't
    tell where the input has one channel or one pixel, and the artifact's answers are garbage. The activations stay
    quantized as they were, and the weights keep the values they had in int8: the program computes the same.
    """
    names = []
    for node in module.graph.nodes:
        if node.target not in (aten.conv1d.default, aten.conv2d.default, aten.conv1d.padding, aten.conv2d.padding):
            continue
        source, weight = node.args[:2]
        if _is_dequantized(weight) and is_ambiguous(source.meta["val"].shape):
            names.append(_store_float(module, node, weight))
    if names:
        module.graph.eliminate_dead_code()
        module.recompile()
    return names


def is_ambiguous(shape: torch.Size) -> bool:
    """True if an input of this shape (batch, channels, …) has the same strides in both memory formats."""
    channels, pixels = shape[1], shape[2:]
    return bool(channels == 1) or all(size == 1 for size in pixels)


def _is_dequantized(node: Node) -> bool:
    return str(node.target).startswith("quantized_decomposed.dequantize_per_channel")


def _store_float(module: GraphModule, layer: Node, weight: Node) -> str:
    """Evaluates the dequantization of `weight` and makes `layer` read the result."""
    args = [_constant(module, arg) if isinstance(arg, Node) else arg for arg in weight.args]
    value = weight.target(*args, **weight.kwargs)  # type: ignore[operator]  # an operator of torch's
    name = f"{weight.name}_float"
    module.register_buffer(name, value)
    with module.graph.inserting_before(layer):
        constant = module.graph.get_attr(name)
    constant.meta["val"] = weight.meta["val"]
    layer.replace_input_with(weight, constant)
    return layer.name


def _constant(module: GraphModule, node: Node) -> torch.Tensor:
    owner, _, attribute = str(node.target).rpartition(".")
    value: torch.Tensor = getattr(module.get_submodule(owner), attribute)
    return value
