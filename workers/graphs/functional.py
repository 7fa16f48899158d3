"""Programs that write in place, as the same programs without a write: a value, once computed, never changes."""

from __future__ import annotations

import copy
import operator

import torch
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from workers.graphs.calls import operator_name
from workers.graphs.reexport import exported_again, reexport
from workers.programs import tracing_inputs

__all__ = ["functionalized", "writes"]

aten = torch.ops.aten

_TWINS = frozenset({
    "abs", "add", "celu", "clamp", "clamp_max", "clamp_min", "div", "elu", "exp", "fill", "hardsigmoid", "hardswish",
    "hardtanh", "index_put", "leaky_relu", "masked_fill", "mish", "mul", "neg", "relu", "relu6", "selu", "sigmoid",
    "silu", "sqrt", "square", "sub", "tanh", "threshold",
})  # fmt: skip
"""Operators that, not in place, give the type of their first argument if no float among the others has another."""
_CURE = (
    "Export it again without writes in place: `x = x + 1` for `x += 1`, `torch.where` or `torch.cat` for `x[i] = y`."
)


def writes(node: Node) -> bool:
    """True for a call that writes to the elements of one of its arguments."""
    target = node.target
    # `detach_` stands behind each `torch.tensor(…)` in a `forward`, and only takes its gradient off.
    return isinstance(target, OpOverload) and target._schema.is_mutable and target is not aten.detach_.default


def functionalized(program: ExportedProgram) -> ExportedProgram:
    """`program` itself if it does not write in place, else one that computes the same.

    1. A call that writes to a value whose memory nothing else shares gives a new value instead: `relu_` becomes
       `relu`, and all else stays as it is.
    2. If other writes are left (through a view, `mask[2:5] = 1`; or to what has views), torch functionalizes the whole
       graph. That takes views apart (`flatten` becomes `view`, `chunk` becomes `split`) and batch norms, which are put
       together again.
    3. Inputs stay as they were given. Buffers that the program changes get their new values by one copy each, behind
       all that reads them.

    Raises:
        UnsupportedModel: torch can't do it.
    """
    if not any(writes(node) for node in program.graph.nodes):
        return program
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    example = tracing_inputs(program)
    _write_nothing_shared(module)
    if any(writes(node) for node in module.graph.nodes):
        with exported_again(_CURE), torch.no_grad():
            decomposed = reexport(module, program, example, cure=_CURE).run_decompositions({})
        module = decomposed.module(check_guards=False)
        _keep_inputs(module)
        _join_batch_norms(module)
    return reexport(module, program, example, cure=_CURE)


def _write_nothing_shared(module: GraphModule) -> None:
    """Rule 1, in the order of the graph: after a write is gone, its value is new, and the next may write to it."""
    place = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in module.graph.nodes:
        if not writes(node) or (twin := _twin(node)) is None:
            continue
        written = node.args[0]
        earlier = [user for user in written.users if place[user] < place[node]]
        if _is_new(written) and not any(_may_share(user) for user in earlier):
            for user in [user for user in written.users if place[user] > place[node]]:
                user.replace_input_with(written, node)
            node.target = twin


def _twin(node: Node) -> OpOverload | None:
    """The operator that gives what `node` writes; `None` if it is not known to give the same type."""
    target, name = node.target, operator_name(node).removesuffix("_")
    assert isinstance(target, OpOverload)
    tensors = [value for each in node.all_input_nodes if isinstance(value := each.meta["val"], torch.Tensor)]
    floats = {value.dtype for value in tensors if value.is_floating_point() or value.is_complex()}
    if name not in _TWINS or floats != {node.meta["val"].dtype}:
        return None
    twin: OpOverload | None = getattr(getattr(aten, name), target._overloadname, None)
    return twin


def _is_new(node: object) -> bool:
    """True for a value in memory of its own. An input counts: its twin is a value of the program's own."""
    return isinstance(node, Node) and (
        node.op == "placeholder" or (node.op == "call_function" and not _may_share(node) and not writes(node))
    )


def _may_share(node: Node) -> bool:
    """True if what the call gives may lie in the memory of an argument, as a view does."""
    target = node.target
    if not isinstance(target, OpOverload):
        return node.op != "output"
    if target is aten.batch_norm.default:
        return False  # tagged as aliasing for the sake of its statistics, which it writes in training only
    aliasing = any(each.alias_info is not None for each in target._schema.returns)
    return aliasing or torch.Tag.maybe_aliasing_or_mutating in target.tags


def _keep_inputs(module: GraphModule) -> None:
    """Rule 3: what is left of writes are copies into inputs and buffers, at the end; those into inputs go."""
    for node in list(module.graph.nodes):
        if writes(node):
            target, value = node.args
            assert isinstance(target, Node)
            assert isinstance(value, Node)
            node.replace_all_uses_with(value)
            if target.op == "placeholder":
                module.graph.erase_node(node)


def _join_batch_norms(module: GraphModule) -> None:
    """Batch norms at rest as torch's export writes them, and as the passes know them."""
    for node in module.graph.find_nodes(op="call_function", target=aten._native_batch_norm_legit_no_training.default):
        *operands, momentum, epsilon = node.args
        with module.graph.inserting_before(node):
            joined = module.graph.call_function(aten.batch_norm.default, (*operands, False, momentum, epsilon, True))
        for user in list(node.users):
            assert user.target is operator.getitem
            user.replace_all_uses_with(joined)
            module.graph.erase_node(user)
        module.graph.erase_node(node)
