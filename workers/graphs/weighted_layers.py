"""The layers of a program: its calls that read weights, under the names that reports use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from workers.graphs.calls import operator_name
from workers.graphs.stored_values import attribute

__all__ = ["WeightedLayer", "weighted_layers"]


@dataclass(frozen=True)
class WeightedLayer:
    """One call that reads at least one matrix of float weights."""

    node: Node
    name: str
    """The module that owns the first of its weights, else the weight's own name."""
    weights: tuple[str, ...]
    """Names of its matrices (two dimensions and more), in the order of the call."""

    @property
    def op(self) -> str:
        """`conv2d`, `linear`, `lstm`, …"""
        return operator_name(self.node).partition(".")[0]


def weighted_layers(module: GraphModule) -> Iterator[WeightedLayer]:
    """In the order of the calls; a module that is called twice gives two."""
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        names = tuple(
            str(source.target)
            for source in node.all_input_nodes
            if source.op == "get_attr" and _is_matrix(attribute(module, str(source.target)))
        )
        if names:
            yield WeightedLayer(node, names[0].rpartition(".")[0] or names[0], names)


def _is_matrix(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.dim() >= 2
