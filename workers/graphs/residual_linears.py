"""Keeping Inductor from adding into memory that is not its own."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

__all__ = ["guard_residual_linears"]

aten = torch.ops.aten


def guard_residual_linears(module: GraphModule) -> int:
    """Rewrites each `y + a` where `y` comes from an int8 linear layer to `y - (-a)`, in place; returns how many.

    Inductor turns the addition into the `sum` post-operation of the linear layer, which writes the result into the
    memory of `a`. Where that is the caller's input or a constant of the artifact, the second call gives wrong
    answers (torch 2.13; `x.clone()` does not help, since it is optimized away). There is no such post-operation for
    a subtraction, and the two are equal to the last bit.
    """
    count = 0
    for node in list(module.graph.nodes):
        layer = _int8_linear(node)
        if layer is None:
            continue
        other = node.args[1] if node.args[0] is layer else node.args[0]
        with module.graph.inserting_before(node):
            negative = module.graph.call_function(aten.neg.default, (other,))
            difference = module.graph.call_function(aten.sub.Tensor, (layer, negative))
        for new, like in ((negative, other), (difference, node)):
            new.meta["val"] = like.meta["val"]
        node.replace_all_uses_with(difference)
        module.graph.erase_node(node)
        count += 1
    if count:
        module.recompile()
    return count


def _int8_linear(node: Node) -> Node | None:
    """The operand of an addition that an int8 linear layer makes, if the addition is one that may be fused."""
    plain = node.target in (aten.add.Tensor, aten.add_.Tensor) and "alpha" not in node.kwargs
    if not plain or not all(isinstance(operand, Node) for operand in node.args):
        return None
    for operand in node.args:
        assert isinstance(operand, Node)
        source = operand.args[0] if operand.target is aten.linear.default else None
        if isinstance(source, Node) and str(source.target).startswith("quantized_decomposed.dequantize"):
            return operand
    return None
