"""Parts of a stored matrix that layers read, stored by themselves."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.fx import GraphModule, Node

from workers.graphs.calls import is_view
from workers.graphs.free_names import free_name
from workers.graphs.int8_annotations import CONVOLUTIONS, LINEARS
from workers.graphs.stored_values import attribute

__all__ = ["store_parts"]


def store_parts(module: GraphModule) -> int:
    """Stores each part of a parameter that layers read by a split or a slice, in place; returns how many.

    The queries of `nn.MultiheadAttention` over another sequence have the first third of `in_proj_weight`, keys and
    values have the rest; only what is stored is a layer's weight to passes and kernels. The part of a number has it
    behind its name: `in_proj_weight_0`.

    A parameter that anything else reads stays whole, and so does one whose parts would take more room than it does.
    """
    count = 0
    for whole in module.graph.find_nodes(op="get_attr"):
        parts = list(_parts(whole))
        parameter = attribute(module, str(whole.target))
        if not parts or not isinstance(parameter, nn.Parameter) or not _is_read_by_layers_alone(whole):
            continue
        values = [_value(part, whole, parameter.detach()) for part in parts]
        if sum(value.numel() for value in values) > parameter.numel():
            continue
        for number, (part, value) in enumerate(zip(parts, values, strict=True)):
            _store(module, part, f"{whole.target}_{number}", nn.Parameter(value.contiguous(), parameter.requires_grad))
        count += len(parts)
    if count:
        module.graph.eliminate_dead_code()
    return count


def _parts(whole: Node) -> Iterator[Node]:
    """The views of it that something computes with, in the order of the graph's paths."""
    for view in filter(is_view, whole.users):
        if isinstance(view.meta["val"], torch.Tensor) and not all(map(is_view, view.users)):
            yield view
        else:
            yield from _parts(view)


def _is_read_by_layers_alone(node: Node) -> bool:
    """Whether all that computes with it, or with a view of it, are layers that have it as weight or bias."""
    return all(
        _is_read_by_layers_alone(user)
        if is_view(user)
        else node.op != "get_attr" and user.target in LINEARS | CONVOLUTIONS and node in user.args[1:3]
        for user in node.users
    )


def _value(part: Node, whole: Node, stored: torch.Tensor) -> torch.Tensor:
    def evaluated(node: Node) -> torch.Tensor:
        if node is whole:
            return stored
        assert callable(node.target)
        made: torch.Tensor = node.target(evaluated(node.all_input_nodes[0]), *node.args[1:], **node.kwargs)
        return made

    return evaluated(part)


def _store(module: GraphModule, part: Node, wanted: str, value: nn.Parameter) -> None:
    name = free_name(module, wanted)
    owner, _, last = name.rpartition(".")
    module.get_submodule(owner).register_parameter(last, value)
    with module.graph.inserting_before(part):
        stored = module.graph.get_attr(name)
    stored.meta["val"] = part.meta["val"].contiguous()
    part.replace_all_uses_with(stored)
