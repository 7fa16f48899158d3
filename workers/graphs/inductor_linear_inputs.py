"""Inputs of int8 linear layers in the order in which Inductor's integer product takes them."""

from __future__ import annotations

import torch
from torch._prims_common import is_contiguous_or_false
from torch.fx import GraphModule, Node

__all__ = ["make_linear_inputs_contiguous"]

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed


def make_linear_inputs_contiguous(module: GraphModule) -> int:
    """Copies the int8 input of each static int8 linear layer that lies in another order, in place; returns how many.

    Inductor (torch 2.13) multiplies integers where a layer is one product of matrices, which it makes of an input of
    more than two dimensions if that is contiguous. A transposed one, as of `nn.MultiheadAttention` with the batch
    first, becomes a batched product: with a dynamic batch the compilation fails (`TypeError: torch.Size() takes an
    iterable of 'int'`), and with more than three dimensions the layer is computed in float. The copy and the rounding
    are one loop in the package.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.linear.default and _is_out_of_order(node.args[0]):
            node.replace_input_with(node.args[0], _in_order(module, node.args[0]))
            count += 1
    if count:
        module.graph.eliminate_dead_code()
        module.recompile()
    return count


def _is_out_of_order(source: Node) -> bool:
    """True for a dequantized input of more than two dimensions that isn't contiguous."""
    value = source.meta["val"]
    rounded = source.target is quantized.dequantize_per_tensor.default
    return rounded and value.dim() > 2 and not is_contiguous_or_false(value)


def _in_order(module: GraphModule, source: Node) -> Node:
    """The int8 tensor behind `source`, copied, and dequantized as `source` is."""
    tensor = source.args[0]
    assert isinstance(tensor, Node)
    with module.graph.inserting_after(source):
        copy = module.graph.call_function(aten.contiguous.default, (tensor,))
    with module.graph.inserting_after(copy):
        whole = module.graph.call_function(source.target, (copy, *source.args[1:]), source.kwargs)  # type: ignore[arg-type]
    copy.meta["val"], whole.meta["val"] = (each.meta["val"].contiguous() for each in (tensor, source))
    return whole
