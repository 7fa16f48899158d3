"""Attention in the one form that torch's ONNX exporter takes: (batch, heads, tokens, size)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node

from workers.graphs.calls import arguments
from workers.graphs.reexport import dimensions, reexport
from workers.programs import tracing_inputs

__all__ = ["with_attention_of_rank_four"]

aten = torch.ops.aten
_ATTENTION = aten.scaled_dot_product_attention.default


def with_attention_of_rank_four(program: ExportedProgram) -> ExportedProgram:
    """`program` itself if the exporter (of torch 2.13) takes its attention, else one that computes the same.

    1. Dimensions in front of the last three are merged, and missing ones are added: it takes "only 4D query, key, and
       value".
    2. The result is a copy, which costs nothing in ONNX: where there is a mask, the exporter traces attention by a
       kernel whose result lies otherwise in memory, and then fails to view it as it was viewed before.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    calls = [node for node in module.graph.nodes if node.target is _ATTENTION and _needs_it(node)]
    if not calls:
        return program
    for call in calls:
        _rewrite(module.graph, call)
    return reexport(module, program, tracing_inputs(program))


def _needs_it(call: Node) -> bool:
    given = arguments(call)
    shapes = [dimensions(given[name].meta["val"])[:-2] for name in ("query", "key", "value")]
    rank = len(shapes[0])
    if rank > 2 and any(shape[:-1] != shapes[0][:-1] for shape in shapes):
        return False  # dimensions that stretch can't be merged; the exporter says what it can't do
    return rank != 2 or given["attn_mask"] is not None


def _rewrite(graph: Graph, call: Node) -> None:
    given, readers = arguments(call), list(call.users)
    query, mask = given["query"], given["attn_mask"]
    shape = dimensions(call.meta["val"])
    extra = len(shape) - 4
    with graph.inserting_before(call):
        outer = [_size(graph, query, place) for place in range(extra + 1)]
        if mask is not None:
            call.replace_input_with(mask, _mask_of_rank_four(graph, mask, call, outer))
        for node in dict.fromkeys(given[name] for name in ("query", "key", "value")):
            call.replace_input_with(node, _of_rank_four(graph, node, extra))
    with graph.inserting_before(call.next):
        result = graph.call_function(aten.clone.default, (call,), {"memory_format": torch.contiguous_format})
        if extra > 0:
            result = graph.call_function(aten.unflatten.int, (result, 0, outer))
        for _ in range(-extra):
            result = graph.call_function(aten.squeeze.dim, (result, -3))
    for reader in readers:
        reader.replace_input_with(call, result)


def _of_rank_four(graph: Graph, node: Node, extra: int) -> Node:
    if extra > 0:
        return graph.call_function(aten.flatten.using_ints, (node, 0, extra))
    for _ in range(-extra):
        node = graph.call_function(aten.unsqueeze.default, (node, -3))
    return node


def _mask_of_rank_four(graph: Graph, mask: Node, call: Node, outer: Sequence[Any]) -> Node:
    """A mask of (tokens, keys) fits any rank; one with dimensions in front of these gets those of the attention."""
    rank, own = len(dimensions(call.meta["val"])), len(dimensions(mask.meta["val"]))
    if own == 2 or rank == 4:
        return mask
    for _ in range(max(rank, 4) - own):
        mask = graph.call_function(aten.unsqueeze.default, (mask, 0 if rank > 4 else -3))
    if rank > 4:
        mask = graph.call_function(aten.expand.default, (mask, [*outer, -1, -1, -1]))
        mask = graph.call_function(aten.flatten.using_ints, (mask, 0, rank - 4))
    return mask


def _size(graph: Graph, node: Node, place: int) -> Any:
    size = dimensions(node.meta["val"])[place]
    return size if isinstance(size, int) else graph.call_function(aten.sym_size.int, (node, place))
