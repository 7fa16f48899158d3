"""Programs whose layers read their weights as they are stored, and are read themselves."""

from __future__ import annotations

from torch.export import ExportedProgram
from torch.fx import GraphModule

from burnish.errors import UnsupportedModel
from workers.graphs.reexport import reexport
from workers.graphs.stored_parts import store_parts
from workers.graphs.stored_products import make_linear_layers
from workers.graphs.stored_results import store_results
from workers.programs import tracing_inputs

__all__ = ["with_stored_layers"]


def with_stored_layers(program: ExportedProgram) -> ExportedProgram:
    """`program` itself if each layer reads a weight of its own and something reads the layer, else one that computes
    the same in which that is so: what is computed from parameters alone is stored, products with a stored matrix are
    linear layers, parts of one matrix are stored by themselves, and what nobody reads is gone, such as the pooler of a
    BERT whose last hidden state is returned."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    if not _drop_unread(module) + store_results(module) + store_parts(module) + make_linear_layers(module):
        return program
    try:
        return reexport(module, program, tracing_inputs(program))
    except UnsupportedModel:  # then it stays as it is, and reports tell why a layer is not treated
        return program


def _drop_unread(module: GraphModule) -> int:
    """Erases the calls whose value nobody reads; returns how many there were."""
    before = _calls(module)
    module.graph.eliminate_dead_code()
    return before - _calls(module)


def _calls(module: GraphModule) -> int:
    return sum(node.op == "call_function" for node in module.graph.nodes)
