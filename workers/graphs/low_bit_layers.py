"""Which layers read weights of few bits, and, for the notes of an artifact, how each of them computes in it."""

from __future__ import annotations

import torch
from torch.fx import Node

__all__ = ["Ways", "codes_behind", "layer_reading", "owner_of"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed
_WAYPOINTS = frozenset({aten.view.default, aten.slice.Tensor})


class Ways(dict[str, list[str]]):
    """For each way to compute, the names of the layers that do so."""

    def add(self, way: str, name: str) -> None:
        """Counts a layer in, once."""
        names = self.setdefault(way, [])
        if name not in names:
            names.append(name)

    @property
    def notes(self) -> list[str]:
        """A sentence for each."""
        return [f"{way[0].upper()}{way[1:]}: {', '.join(names)}." for way, names in self.items()]


def layer_reading(node: Node) -> str | None:
    """The name of the layer that `node` calls, if it reads a low-bit weight; `None` for any other node."""
    if node.op != "call_function" or node.target in _WAYPOINTS:
        return None
    for argument in node.all_input_nodes:
        while argument.target in _WAYPOINTS:
            argument = argument.all_input_nodes[0]
        if argument.target is ops.dequantize_per_channel_group.default:
            return owner_of(argument)
    return None


def codes_behind(node: object) -> Node:
    """The `get_attr` of the codes that a weight in any of the forms is made of; of a plain weight, its own."""
    assert isinstance(node, Node)
    while node.op != "get_attr":
        sources = node.all_input_nodes
        made = (each for each in sources if each.op != "get_attr" or str(each.target).endswith("_codes"))
        node = next(made, sources[0])
    return node


def owner_of(weight: object) -> str:
    """The name of the layer that a weight, in any of the forms or plain, belongs to."""
    name = str(codes_behind(weight).target).removesuffix("_codes")
    return name.rpartition(".")[0] or name
