"""Static int8 as XNNPACK takes it: signed integers, and linear layers that give floats round their input themselves.

1. XNNPACK's integers are signed. Those of the program are not: 128 is taken off its zero points and their bounds. What
   they stand for stays the same, to the bit.
2. A linear layer whose output nobody quantizes has no static kernel. It rounds its input row by row when it runs
   (`round_input`): the float tensor behind a rounding with a fixed range, or, where a layer in int8 made that, its
   output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

import torch
from torch.fx import GraphModule, Node

from workers.graphs.int8_annotations import CLAMPS, LINEARS

__all__ = [
    "DEQUANTIZE",
    "QUANTIZE",
    "float_linears",
    "is_dequantized",
    "make_signed",
    "reads_int8_weights",
    "rounding_of",
]

ops = torch.ops.quantized_decomposed
QUANTIZE, DEQUANTIZE = ops.quantize_per_tensor.default, ops.dequantize_per_tensor.default


def make_signed(module: GraphModule) -> None:
    """Rule 1."""
    for node in module.graph.nodes:
        if node.target in (QUANTIZE, DEQUANTIZE) and node.args[5] is torch.uint8:
            value, scale, *bounds = node.args[:5]
            node.args = (value, scale, *(bound - 128 for bound in bounds), torch.int8)


def float_linears(module: GraphModule) -> Iterator[Node]:
    """Rule 2: the layers that have to round their input; they now read the tensor to be rounded."""
    for node in module.graph.nodes:
        if node.target in LINEARS and reads_int8_weights(node) and rounding_of(node) is None:
            source = node.args[0]
            if is_dequantized(source):
                node.update_arg(0, _before(source))
            yield node


def reads_int8_weights(layer: Node) -> bool:
    """True for a layer with a scale for each output channel of its int8 weights."""
    weight = layer.args[1]
    return isinstance(weight, Node) and weight.target is ops.dequantize_per_channel.default


def is_dequantized(node: object) -> TypeGuard[Node]:
    """True for a tensor that stands for int8 values."""
    return isinstance(node, Node) and node.target is DEQUANTIZE


def rounding_of(node: Node) -> Node | None:
    """What rounds all that a call gives, behind a clamp perhaps; `None` if something reads it unrounded."""
    users = list(node.users)
    if len(users) == 1 and users[0].target in CLAMPS:
        users = list(users[0].users)
    return users[0] if len(users) == 1 and users[0].target is QUANTIZE else None


def _before(rounded: Node) -> Node:
    """The float tensor behind a rounded one, unless a layer in int8 makes that: then `rounded` itself."""
    source = rounded.all_input_nodes[0].all_input_nodes[0]
    made = source.all_input_nodes[0] if source.target in CLAMPS else source
    return rounded if any(map(is_dequantized, made.all_input_nodes)) else source
