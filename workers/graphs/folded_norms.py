"""Batch norms folded into the convolutions before them, where nothing else reads what is between the two."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx import GraphModule, Node

from workers.graphs.free_names import free_name
from workers.graphs.stored_values import set_attribute, stored_double

__all__ = ["fold_batch_norms"]

aten = torch.ops.aten

_CONVOLUTIONS = frozenset(
    {
        aten.conv1d.default,
        aten.conv2d.default,
        aten.conv3d.default,
        aten.conv1d.padding,
        aten.conv2d.padding,
        aten.conv3d.padding,
    }
)


def fold_batch_norms(module: GraphModule) -> int:
    """Scales the weights and moves the bias of each such convolution, in place; returns how many.

    Rounding follows: it should see the weights that are multiplied, and a batch norm behind few-bit weights could not
    be folded any more. torchao's own folding does not look who else reads the convolution or its weights.
    """
    count = 0
    for node in list(module.graph.nodes):
        if node.target is aten.batch_norm.default and _foldable(node):
            _fold(module, node)
            count += 1
    if count:
        module.graph.eliminate_dead_code()
        module.recompile()
    return count


def _foldable(norm: Node) -> bool:
    source, scale, shift, mean, variance, training = norm.args[:6]
    if training is not False or not isinstance(source, Node) or source.target not in _CONVOLUTIONS:
        return False
    stored = [*source.args[1:3], scale, shift, mean, variance]
    plain = all(each is None or (isinstance(each, Node) and each.op == "get_attr") for each in stored)
    mine = [source, *(each for each in source.args[1:3] if isinstance(each, Node))]
    return plain and mean is not None and all(len(node.users) == 1 for node in mine)


def _fold(module: GraphModule, norm: Node) -> None:
    source, scale, shift, mean, variance, _, _, epsilon = norm.args[:8]
    assert isinstance(source, Node)
    assert isinstance(epsilon, float)
    weight = stored_double(module, source.args[1], 0.0)
    factor = (stored_double(module, variance, 0.0) + epsilon).rsqrt() * stored_double(module, scale, 1.0)
    bias = stored_double(module, source.args[2] if len(source.args) > 2 else None, 0.0)
    moved = (bias - stored_double(module, mean, 0.0)) * factor + stored_double(module, shift, 0.0)
    wide = factor.reshape(-1, *[1] * (weight.dim() - 1))
    node = source.args[1]
    assert isinstance(node, Node)
    name = _bias_name(module, source)
    set_attribute(module, str(node.target), nn.Parameter((weight * wide).float(), requires_grad=False))
    set_attribute(module, name, nn.Parameter(moved.float().expand(len(weight)).clone(), requires_grad=False))
    with module.graph.inserting_before(source):
        added = module.graph.get_attr(name)
    added.meta["val"] = norm.meta["val"].new_empty(len(weight))
    source.args = (*source.args[:2], added, *source.args[3:])
    norm.replace_all_uses_with(source)
    module.graph.erase_node(norm)


def _bias_name(module: GraphModule, convolution: Node) -> str:
    """Where its bias goes: in the place of the one it has, or as that of its own weight and of no other's."""
    weight, bias = convolution.args[1], convolution.args[2] if len(convolution.args) > 2 else None
    if isinstance(bias, Node):
        return str(bias.target)
    assert isinstance(weight, Node)
    owner, _, attribute = str(weight.target).rpartition(".")
    return free_name(module, f"{owner}.bias" if owner and attribute == "weight" else f"{weight.target}_bias")
