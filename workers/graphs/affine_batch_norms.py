"""Batch norms as the multiplication and addition that they are once their statistics are fixed."""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from workers.graphs.stored_values import stored_double

__all__ = ["make_batch_norms_affine"]

aten = torch.ops.aten


def make_batch_norms_affine(module: GraphModule) -> int:
    """Rewrites each `aten.batch_norm` in evaluation mode to `x * scale + shift`, in place; returns how many.

    Meant for those that no convolution could take in: torchao takes a batch norm that is left in a graph as the sign
    of quantization-aware training, and traces its patterns for it, for half a minute.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.batch_norm.default and node.args[5] is False:
            _rewrite(module, node)
            count += 1
    if count:
        module.graph.eliminate_dead_code()
        module.recompile()
    return count


def _rewrite(module: GraphModule, node: Node) -> None:
    source, weight, bias, mean, variance, _, _, epsilon, _ = node.args
    assert isinstance(source, Node)
    assert isinstance(epsilon, float)
    deviation = torch.sqrt(stored_double(module, variance, 1.0) + epsilon)
    scale = stored_double(module, weight, 1.0) / deviation
    shift = stored_double(module, bias, 0.0) - stored_double(module, mean, 0.0) * scale
    value = node.meta["val"]
    shape = [-1] + [1] * (value.dim() - 2)
    with module.graph.inserting_before(node):
        result = source
        for operation, operand, name in ((aten.mul.Tensor, scale, "scale"), (aten.add.Tensor, shift, "shift")):
            module.register_buffer(f"{node.name}_{name}", operand.reshape(shape).to(value.dtype))
            constant = module.graph.get_attr(f"{node.name}_{name}")
            constant.meta["val"] = operand.reshape(shape).to(value.dtype)
            result = module.graph.call_function(operation, (result, constant))
            result.meta["val"] = value
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)
