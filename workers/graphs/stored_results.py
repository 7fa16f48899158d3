"""Weights that a program computes from its parameters, stored as layers read them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.fx import GraphModule, Node

from workers.graphs.calls import is_view, operator_name
from workers.graphs.fixed_values import evaluate, fixed_nodes
from workers.graphs.stored_values import attribute, set_attribute

__all__ = ["store_results"]

_LAYERS = frozenset(
    {"linear", "mm", "matmul", "addmm"} | {f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)}
)


def store_results(module: GraphModule) -> int:
    """Stores each weight or bias that a layer reads and that parameters alone give, in place; returns how many.

    Standardized weights (Qiao et al. 2019, arXiv:1903.10520), weight norm and spectral norm compute the same weights at
    every call, and to passes and kernels only what is stored is a layer's weight. The result stands under the name of
    the largest parameter that it is made of.

    Left as they are: what takes more room than the parameters that only it reads (factors of low rank, half-precision
    storage), what is stored in integers, and views, which cost nothing.
    """
    fixed = fixed_nodes(module)
    found = [node for node in module.graph.nodes if node in fixed and _is_result(node)]
    stored = sum(_store(module, node) for node in found)
    if stored:
        module.graph.eliminate_dead_code()
    return stored


def _is_result(node: Node) -> bool:
    if node.op != "call_function" or not any(_is_layer_with(user, node) for user in node.users):
        return False
    part = _behind(node)
    calls = [each for each in part if each.op == "call_function"]
    if len(calls) + sum(each.op == "get_attr" for each in part) < len(part):
        return False  # it depends on a size of the inputs
    return not all(map(is_view, calls)) and not any("quantize" in str(each.target) for each in calls)


def _is_layer_with(user: Node, node: Node) -> bool:
    """Whether the user multiplies its input by the node, or adds the node to that."""
    if operator_name(user) not in _LAYERS:
        return False
    given = user.args[1] if operator_name(user) == "addmm" else user.args[0]
    return given is not node


def _behind(root: Node) -> list[Node]:
    """The node and all that it is made of."""
    found, waiting = dict.fromkeys([root]), [root]
    while waiting:
        new = [source for source in waiting.pop().all_input_nodes if source not in found]
        found.update(dict.fromkeys(new))
        waiting += new
    return list(found)


def _store(module: GraphModule, root: Node) -> bool:
    part = _behind(root)
    own = dict(_own_parameters(module, part))
    value = root.meta["val"]
    if not own or not value.is_floating_point() or _bytes(value) > sum(map(_bytes, own.values())):
        return False
    node, largest = max(own.items(), key=lambda each: each[1].numel())
    result = evaluate(module, root, {}).contiguous().clone()
    set_attribute(module, str(node.target), nn.Parameter(result, requires_grad=largest.requires_grad))
    node.meta["val"] = value.contiguous()
    root.replace_all_uses_with(node)
    return True


def _own_parameters(module: GraphModule, part: list[Node]) -> Iterator[tuple[Node, nn.Parameter]]:
    """The float parameters that nothing but this part reads."""
    for node in part:
        value = attribute(module, str(node.target)) if node.op == "get_attr" else None
        if isinstance(value, nn.Parameter) and value.is_floating_point() and all(user in part for user in node.users):
            yield node, value


def _bytes(value: torch.Tensor) -> int:
    return value.numel() * value.element_size()
