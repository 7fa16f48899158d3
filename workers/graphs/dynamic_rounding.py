"""Leaving the rounding of a layer's input to kernels that do it themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from workers.graphs.low_bit import dynamic_source

__all__ = ["DynamicRounding", "drop_dynamic_rounding"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed


@dataclass(frozen=True)
class DynamicRounding:
    """What the linear layers with low-bit weights ask for."""

    layers: int
    """Those whose input is rounded to int8, row by row."""
    others: int
    """Those whose input is not."""
    group: int
    """The smallest group of any of their weights."""

    @property
    def everywhere(self) -> bool:
        """True if all of them ask for it."""
        return self.layers > 0 and self.others == 0


def drop_dynamic_rounding(program: ExportedProgram) -> tuple[ExportedProgram, DynamicRounding]:
    """The program without the rounding of inputs that `round_input` wrote, and what was there."""
    layers = list(_low_bit_linears(program))
    rounded = sum(dynamic_source(layer.args[0]) is not None for layer, _ in layers)
    found = DynamicRounding(rounded, len(layers) - rounded, min((group for _, group in layers), default=0))
    if not any(node.target is ops.dequantize_per_token.default for node in program.graph.nodes):
        return program, found
    program = program.run_decompositions({})  # a copy of the graph; the weights are shared
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        source = dynamic_source(node)
        if source is not None:
            node.replace_all_uses_with(source)
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program, found


def _low_bit_linears(program: ExportedProgram) -> Iterator[tuple[Node, int]]:
    """Each linear layer whose weight is in low-bit form, with its group."""
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target is aten.linear.default:
            weight = node.args[1]
            while isinstance(weight, Node) and weight.target in (aten.view.default, aten.slice.Tensor):
                weight = weight.args[0]
            if isinstance(weight, Node) and weight.target is ops.dequantize_per_channel_group.default:
                yield node, _group(weight)


def _group(weight: Node) -> int:
    group, codes = weight.args[6], weight.args[0]
    assert isinstance(group, int)
    assert isinstance(codes, Node)
    return min(group, int(codes.meta["val"].shape[1]))
