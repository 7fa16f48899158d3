"""Attention rows that see nothing: zero, as torch gives them, and not what an engine makes of an empty softmax."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, Node

from workers.graphs.calls import arguments

__all__ = ["zero_blind_rows"]

aten = torch.ops.aten


def zero_blind_rows(program: ExportedProgram) -> ExportedProgram:
    """The program with zeros in the rows of attention whose mask hides every key, said in operators of its own.

    A mask that comes from the inputs can hide all of a sample: padding that fills a batch does. torch then gives zeros;
    the graph that its ONNX exporter writes for the same call gives the mean of all values for a mask of booleans, and
    NaN for one that adds minus infinity (torch 2.13). A mask of weights alone is left to the compiler.

    Returns:
        a copy of the graph with the same weights; `program` itself if no mask comes from an input.
    """
    if not _masked(program):
        return program
    program = program.run_decompositions({})  # a copy of the graph; the weights are shared
    graph = program.graph_module.graph
    seen: dict[Node, Node] = {}
    for call in _masked(program):
        mask = arguments(call)["attn_mask"]
        if mask not in seen:
            with graph.inserting_after(mask):
                seen[mask] = _seeing(graph, mask)
        with graph.inserting_after(call):
            zeroed = graph.call_function(aten.where.ScalarOther, (seen[mask], call, 0.0))
        zeroed.meta["val"] = call.meta["val"]
        for user in list(call.users):
            if user is not zeroed:
                user.replace_input_with(call, zeroed)
    program.graph_module.recompile()
    return program


def _masked(program: ExportedProgram) -> list[Node]:
    """Calls of attention whose mask is made from the values of an input, not from its size alone."""
    given = set(program.graph_signature.user_inputs)
    made: set[Node] = set()
    found = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in given:
            made.add(node)
        elif node.op == "call_function" and node.target is not aten.sym_size.int:
            if node.target is aten.scaled_dot_product_attention.default and arguments(node)["attn_mask"] in made:
                found.append(node)
            if not made.isdisjoint(node.all_input_nodes):
                made.add(node)
    return found


def _seeing(graph: Graph, mask: Node) -> Node:
    """True for each row of the mask that lets a key through, its last dimension kept with size 1."""
    value = mask.meta["val"]
    if value.dtype is not torch.bool:
        mask = graph.call_function(aten.gt.Scalar, (mask, -torch.inf))
        mask.meta["val"] = value.new_empty(value.shape, dtype=torch.bool)
    with graph.inserting_after(mask):
        seeing = graph.call_function(aten.any.dim, (mask, -1, True))
    seeing.meta["val"] = value.new_empty((*value.shape[:-1], 1), dtype=torch.bool)
    return seeing
