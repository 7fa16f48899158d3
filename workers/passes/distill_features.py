"""Learning from inner layers: teacher and student have to find the same pairs of samples alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torch.nn.functional import normalize

from workers.graphs.fake_quantization import layer_calls
from workers.graphs.weighted_layers import weighted_layers
from workers.passes.distill_loss import floating

__all__ = ["Tapped", "points", "similarity_loss"]

MOST_POINTS = 6


def points(teacher: GraphModule, student: GraphModule) -> tuple[list[Node], list[Node]]:
    """Where to compare, in each of the two: the results of layers that both have by name, spread over the depth.

    A student with other names is compared at the input of its last layer alone, where the features end.
    """
    ours, theirs = (dict(_layers(module)) for module in (teacher, student))
    # The last layer's results are the outputs, or next to them: those are compared anyway.
    common = [name for name in ours if name in theirs][:-1]
    if common:
        step = -(-len(common) // MOST_POINTS)
        chosen = common[::-1][::step][::-1]
        return [ours[name] for name in chosen], [theirs[name] for name in chosen]
    if not ours or not theirs:
        return [], []
    return [_input(list(ours.values())[-1])], [_input(list(theirs.values())[-1])]


def _layers(module: GraphModule) -> list[tuple[str, Node]]:
    """Calls that read weights, float or rounded, in the order of the graph."""
    place = {node: index for index, node in enumerate(module.graph.nodes)}
    plain = ((layer.name, layer.node) for layer in weighted_layers(module))
    return sorted((*plain, *layer_calls(module)), key=lambda layer: place[layer[1]])


class Tapped:
    """A module that is run node by node, and gives the values of some of its nodes beside its outputs."""

    def __init__(self, module: GraphModule, nodes: Sequence[Node]) -> None:
        self._module, self._nodes = module, nodes

    def __call__(self, *inputs: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The floating-point outputs, and one tensor for each node, of shape (samples, …)."""
        run = _Run(self._module, self._nodes)
        outputs = floating(run.run(*inputs))
        return outputs, [run.found[node] for node in self._nodes]


class _Run(Interpreter):
    def __init__(self, module: GraphModule, nodes: Sequence[Node]) -> None:
        super().__init__(module)
        self._wanted = set(nodes)
        self.found: dict[Node, torch.Tensor] = {}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n in self._wanted:
            self.found[n] = floating(value)[0]  # of a recurrent layer, the states of the last layer
        return value


def similarity_loss(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean squared difference of the matrices of similarity between samples, each row of length 1, times the batch.

    Tung and Mori, 2019: Similarity-Preserving Knowledge Distillation, arXiv:1907.09682. Widths need not agree. A pair
    whose first dimensions differ (not the batch) is left out.
    """
    losses = [
        (_similarity(one) - _similarity(other)).square().mean() * len(one)
        for one, other in zip(student, teacher, strict=True)
        if len(one) == len(other)
    ]
    return torch.stack(losses).mean() if losses else torch.zeros(())


def _similarity(features: torch.Tensor) -> torch.Tensor:
    rows = features.flatten(1) if features.dim() > 1 else features[:, None]
    return normalize(rows @ rows.T, dim=1)


def _input(layer: Node) -> Node:
    source = layer.args[0]
    assert isinstance(source, Node)
    return source
