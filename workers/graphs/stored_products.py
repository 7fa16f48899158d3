"""Products with a stored matrix, as the linear layers that they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.fx import GraphModule, Node

from workers.graphs.stored_values import attribute, set_attribute

__all__ = ["make_linear_layers"]

aten = torch.ops.aten


class _Product(NamedTuple):
    """`input @ matrix + bias`."""

    node: Node
    input: Node
    weight: Node
    """The `get_attr` of the matrix, or of its transpose."""
    bias: Node | None
    is_transposed: bool
    """True if the matrix is read through a transposition, so that what is stored is [outputs, inputs] already."""


def make_linear_layers(module: GraphModule) -> int:
    """Puts a linear layer in the place of each product with a stored matrix, in place; returns how many.

    `x @ w`, `mm` and `addmm` (the `Conv1D` of GPT-2, and what `run_decompositions` makes of a linear layer) compute
    what `linear` does, and only that is a layer to passes and kernels. A matrix of [inputs, outputs] is stored
    transposed, under its name.

    Left as they are: products that scale (`alpha`, `beta`), whose bias is no stored vector, or whose matrix is read in
    another way as well.
    """
    found = [each for node in module.graph.nodes if (each := _product(module, node)) is not None]
    products = [each for each in found if each.is_transposed or _is_read_by_products_alone(module, each, found)]
    for name in {str(each.weight.target) for each in products if not each.is_transposed}:
        _turn(module, name)
    for product in products:
        _replace(module, product)
    return len(products)


def _product(module: GraphModule, node: Node) -> _Product | None:
    if node.op != "call_function" or node.kwargs:
        return None
    if node.target in (aten.mm.default, aten.matmul.default):
        (source, matrix), bias = node.args, None
    elif node.target is aten.addmm.default:
        bias, source, matrix = node.args
    else:
        return None
    assert isinstance(source, Node)
    assert isinstance(matrix, Node)
    weight = _transposed(matrix) or matrix
    if not _is_parameter(module, weight, 2) or source.op == "get_attr" or source.meta["val"].dim() < 2:
        return None
    if bias is not None and not (isinstance(bias, Node) and _is_bias(module, bias, node)):
        return None
    return _Product(node, source, weight, bias, weight is not matrix)


def _transposed(matrix: Node) -> Node | None:
    """The matrix that a transposition reads."""
    axes: Any = matrix.args[1:]
    if matrix.target in (aten.t.default, aten.numpy_T.default):
        swaps = True
    elif matrix.target is aten.transpose.int:
        swaps = bool((axes[0] - axes[1]) % 2)
    elif matrix.target is aten.permute.default:
        swaps = axes[0][0] in (1, -1)
    else:
        return None
    (source,) = matrix.all_input_nodes
    return source if swaps and source.meta["val"].dim() == 2 else None


def _is_parameter(module: GraphModule, node: Node, dimensions: int) -> bool:
    value = attribute(module, str(node.target)) if node.op == "get_attr" else None
    return isinstance(value, nn.Parameter) and value.is_floating_point() and value.dim() == dimensions


def _is_bias(module: GraphModule, bias: Node, node: Node) -> bool:
    """True for a stored vector of one number for each output."""
    return _is_parameter(module, bias, 1) and bias.meta["val"].shape[0] == node.meta["val"].shape[-1]


def _is_read_by_products_alone(module: GraphModule, product: _Product, found: list[_Product]) -> bool:
    """True if the matrix may be stored transposed, since nothing else reads it."""
    products = {each.node for each in found if not each.is_transposed}
    return all(user in products for node in _reads(module, str(product.weight.target)) for user in node.users)


def _reads(module: GraphModule, name: str) -> list[Node]:
    return [node for node in module.graph.find_nodes(op="get_attr") if node.target == name]


def _turn(module: GraphModule, name: str) -> None:
    """Stores a matrix transposed. The program that `module` is of keeps its own."""
    weight = attribute(module, name)
    assert isinstance(weight, nn.Parameter)
    turned = nn.Parameter(weight.detach().t().contiguous(), requires_grad=weight.requires_grad)
    set_attribute(module, name, turned)
    for node in _reads(module, name):
        node.meta["val"] = node.meta["val"].t().contiguous()


def _replace(module: GraphModule, product: _Product) -> None:
    bias = () if product.bias is None else (product.bias,)
    with module.graph.inserting_before(product.node):
        layer = module.graph.call_function(aten.linear.default, (product.input, product.weight, *bias))
    layer.meta = dict(product.node.meta)
    product.node.replace_all_uses_with(layer)
    module.graph.erase_node(product.node)
