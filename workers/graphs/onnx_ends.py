"""The names of an ONNX file's inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

__all__ = ["name_ends"]


def name_ends(model: onnx_ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Gives inputs and outputs the names that users know, in place: a session is fed and read by them.

    The exporter names outputs after the operators that they come from, and renames an input that is an output too. A
    name that another value has, an input among them, gets `_output` behind it.

    Args:
        outputs: none if they have no names: then they keep those of the operators.
    """
    graph = model.graph
    ends = {id(value) for value in (*graph.inputs, *graph.outputs)}
    nodes = onnx_ir.traversal.RecursiveGraphIterator(graph)
    values = [*graph.initializers.values(), *(value for node in nodes for value in node.outputs)]
    taken = {value.name for value in values if id(value) not in ends}
    old = [value.name or "" for value in graph.outputs]
    for given, wanted in ((graph.inputs, inputs), (graph.outputs, outputs or old)):
        for value, name in zip(given, wanted, strict=True):
            while name in taken:
                name += "_output"
            value.name = name
            taken.add(name)
