"""Compute cache: what a program computes from constants alone is computed once and stored."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from burnish.passes import Cache
from burnish.results import LayerTreatment
from workers.graphs.fixed_values import evaluate, fixed_nodes
from workers.graphs.free_names import free_name
from workers.graphs.reexport import reexport
from workers.passes.base import Applied, PassContext
from workers.programs import tracing_inputs

__all__ = ["precompute"]


def precompute(program: ExportedProgram, settings: Cache, context: PassContext) -> Applied:
    """Replaces each largest part of the graph that depends on constants alone by its value.

    1. A part ends where an input comes in, or where its value's shape depends on that of the inputs.
    2. What a quantized weight is made of stays: its integers are smaller than the floats they stand for.
    3. A part that only views a stored tensor (transposes, slices) stays: it costs no time.
    4. Parts are taken in the order of the graph while the bytes they add fit into `max_bytes`; what they no longer
       need counts against them.
    """
    module: GraphModule = copy.deepcopy(program.module(check_guards=False))
    _drop_checks(module)
    layers, added, stored = [], 0, 0
    for part in list(_parts(module)):
        if (reason := _reason(part)) is not None:
            layers.append(LayerTreatment(layer=part[0].name, treatment="left alone", reason=reason))
            continue
        root, value = part[0], evaluate(module, part[0], {}).contiguous().clone()
        more = _bytes(value) - sum(_bytes(node.meta["val"]) for node in part if _only_here(node, part))
        if added + more > settings.max_bytes:
            reason = f"it would add {more} bytes, and `max_bytes` leaves {settings.max_bytes - added}"
            layers.append(LayerTreatment(layer=root.name, treatment="left alone", reason=reason))
            continue
        added, stored = added + more, stored + 1
        layers.append(_store(module, root, value, len(part), more))
    if not stored:
        none = "" if layers else "No part of the model depends on constants alone."
        return Applied(program, changed=False, layers=tuple(layers), reason=none)
    module.graph.eliminate_dead_code()
    module.recompile()
    context.progress(0.8, "exporting")
    example = tracing_inputs(program)
    figures = {"parts_precomputed": float(stored), "bytes_added": float(added)}
    return Applied(reexport(module, program, example), changed=True, layers=tuple(layers), figures=figures)


def _drop_checks(module: GraphModule) -> None:
    """Takes out the export's checks of types, which would each be a reader of its own; they hold for a constant."""
    for node in fixed_nodes(module):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)


def _parts(module: GraphModule) -> Iterator[list[Node]]:
    """Each part as its nodes: first the one that gives its value, then all that it is made of."""
    fixed = fixed_nodes(module)
    static = {node for node in fixed if node.op == "get_attr" or _is_static(node)}
    for node in module.graph.nodes:
        whole = node in static and all(source in static for source in node.all_input_nodes)
        static -= set() if whole else {node}
        if whole and node.op == "call_function" and any(not _joins(user, static, fixed) for user in node.users):
            yield _behind(node)


def _joins(user: Node, static: set[Node], fixed: set[Node]) -> bool:
    """True if the user is a part of its own of which this node is only a piece."""
    return user in fixed and user in static and all(source in static for source in user.all_input_nodes)


def _is_static(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and all(isinstance(size, int) for size in value.shape)


def _behind(root: Node) -> list[Node]:
    found, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.append(node)
            waiting.extend(node.all_input_nodes)
    return found


def _reason(part: list[Node]) -> str | None:
    """Rules 2 and 3: why a part stays; `None` if it is worth storing."""
    calls = [node for node in part if node.op == "call_function"]
    if any("quantize" in str(node.target) for node in calls):
        return "its integers are smaller than the value they stand for"
    if all(_is_view(node) for node in calls):
        return "it only views a stored tensor, which costs no time"
    return None


def _is_view(node: Node) -> bool:
    target = node.target
    return isinstance(target, torch._ops.OpOverload) and target.is_view


def _only_here(node: Node, part: list[Node]) -> bool:
    """True for a weight that nothing else reads."""
    return node.op == "get_attr" and all(user in part for user in node.users)


def _bytes(value: torch.Tensor) -> int:
    return value.numel() * value.element_size()


def _store(module: GraphModule, root: Node, value: torch.Tensor, count: int, more: int) -> LayerTreatment:
    name = free_name(module, f"{root.name}_precomputed")
    module.register_buffer(name, value)
    with module.graph.inserting_before(root):
        stored = module.graph.get_attr(name)
    stored.meta["val"] = root.meta["val"]
    root.replace_all_uses_with(stored)
    module.graph.erase_node(root)
    shape = " × ".join(str(side) for side in value.shape) or "one number"
    return LayerTreatment(
        layer=root.name,
        treatment=f"precomputed {shape}",
        reason=f"{count} operators and weights, none of which depends on an input; {more} bytes more than before",
    )
