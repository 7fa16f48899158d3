"""Rewrites that leave what a graph computes as it is, and leave out what computes nothing new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from workers.graphs.calls import arguments
from workers.graphs.functional import writes

__all__ = ["merge_repeated", "remove_idle"]

aten = torch.ops.aten
_IDLE = frozenset({aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default})
_DROPOUTS = frozenset({aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default})
_LAST = 2**63 - 1


def merge_repeated(module: GraphModule) -> list[str]:
    """Lets equal calls share one result: the names of those that are gone. Nothing random or written to is merged."""
    written = {node for call in module.graph.nodes for node in _written(call)}
    seen: dict[Any, Node] = {}
    gone: list[str] = []
    for node in list(module.graph.nodes):
        if node.op not in ("call_function", "get_attr") or node in written or not _is_pure(node):
            continue
        first = seen.setdefault((node.op, node.target, _plain(node.args), _plain(node.kwargs)), node)
        if first is node:
            continue
        node.replace_all_uses_with(first)
        module.graph.erase_node(node)
        if node.op == "call_function":
            gone.append(node.name)
    return gone


def _is_pure(node: Node) -> bool:
    target = node.target
    if node.op == "get_attr" or not isinstance(target, torch._ops.OpOverload):
        return True
    return torch.Tag.nondeterministic_seeded not in target.tags


def _written(node: Node) -> Iterator[Node]:
    """The nodes that a call writes to, and the call itself, whose value is the same memory."""
    if writes(node):
        yield node
        yield from node.all_input_nodes


def _plain(value: Any) -> Any:
    """Arguments in a form that can be compared and hashed: 1 and 1.0 are not the same."""
    if isinstance(value, list | tuple):
        return tuple(_plain(each) for each in value)
    if isinstance(value, dict):
        return tuple((name, _plain(each)) for name, each in value.items())
    return type(value), value


def remove_idle(module: GraphModule) -> list[str]:
    """Takes out calls that hand their input on: dropout at rest, detach, whole slices. Their names."""
    gone: list[str] = []
    for node in list(module.graph.nodes):
        if node.target is aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
        elif node.op == "call_function" and _is_idle(node):
            source = node.args[0]
            assert isinstance(source, Node)
            node.replace_all_uses_with(source)
            module.graph.erase_node(node)
            gone.append(node.name)
    return gone


def _is_idle(node: Node) -> bool:
    if node.target in _IDLE:
        return True
    given = arguments(node)
    if node.target in _DROPOUTS:
        return not given["train"]
    if node.target is aten.slice.Tensor:
        return given["start"] in (None, 0) and given["end"] in (None, _LAST) and given["step"] == 1
    return False
