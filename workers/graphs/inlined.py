"""Programs without the regions and calls that mean nothing to inference."""

from __future__ import annotations

import torch
from torch._higher_order_ops.wrap import wrap_with_autocast, wrap_with_set_grad_enabled
from torch.export import ExportedProgram
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from burnish.errors import UnsupportedModel
from workers.graphs.free_names import free_name
from workers.graphs.reexport import reexport
from workers.graphs.stored_values import attribute
from workers.programs import tracing_inputs

__all__ = ["inlined"]


def inlined(program: ExportedProgram) -> ExportedProgram:
    """`program` itself if it has nothing of the kind, else one without `detach_`, and with the calls of regions in its
    own graph, where passes see them.

    A region stands for a `with` block in the model's code: `torch.no_grad()`, `torch.enable_grad()`, and
    `torch.autocast(…, enabled=False)`, which guards float32 where the model is trained in half precision. A region that
    switches autocast on changes results and stays. `detach_` stands behind each `torch.tensor(…)` in a `forward`, and
    can't be traced a second time where what it detaches has become a view.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    count = _drop_detaching(module)
    while regions := [node for node in module.graph.nodes if _is_idle(node)]:  # a region may hold others
        for node in regions:
            _inline(module, node)
        count += len(regions)
    if not count:
        return program
    try:
        return reexport(module, program, tracing_inputs(program))
    except UnsupportedModel:  # torch 2.13 can't trace one autocast within another a second time
        return program


def _drop_detaching(module: GraphModule) -> int:
    """Erases what takes gradients off in place; returns how many calls there were."""
    found = [node for node in module.graph.nodes if node.target is torch.ops.aten.detach_.default]
    for node in found:
        node.replace_all_uses_with(node.all_input_nodes[0])
        module.graph.erase_node(node)
    return len(found)


def _is_idle(node: Node) -> bool:
    if node.target is wrap_with_set_grad_enabled:
        return True
    return node.target is wrap_with_autocast and not node.args[2]


def _inline(module: GraphModule, region: Node) -> None:
    place = 1 if region.target is wrap_with_set_grad_enabled else 4
    inner, given = region.args[place], region.args[place + 1 :]
    assert isinstance(inner, Node)
    body = attribute(module, str(inner.target))
    assert isinstance(body, GraphModule)
    with module.graph.inserting_before(region):
        results = _copied(module.graph, body, given, module)
    for user in list(region.users):  # each picks one of the results
        number = user.args[1]
        assert isinstance(number, int)
        user.replace_all_uses_with(results[number])
        module.graph.erase_node(user)
    module.graph.erase_node(region)
    if not inner.users:
        module.graph.erase_node(inner)


def _copied(graph: Graph, body: GraphModule, given: tuple[object, ...], module: GraphModule) -> tuple[Node, ...]:
    """Copies a region's calls to where the graph inserts; what the region returns, as nodes of the graph."""
    made: dict[Node, object] = {}
    inputs = iter(given)
    for node in body.graph.nodes:
        if node.op == "placeholder":
            made[node] = next(inputs)
        elif node.op == "output":
            return tuple(pytree.tree_map_only(Node, made.__getitem__, node.args[0]))
        else:
            copy = graph.node_copy(node, made.__getitem__)  # type: ignore[arg-type]
            if node.op == "get_attr":  # the region of another setting within this one
                copy.target = free_name(module, str(node.target))
                module.add_module(copy.target, body.get_submodule(str(node.target)))
            made[node] = copy
    raise AssertionError("a graph ends with its output")
