"""Programs whose layers read their weights as they are stored."""

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
    """`program` itself if each layer reads a weight of its own, else one that computes the same in which it does:
    what is computed from parameters alone is stored, products with a stored matrix are linear layers, and parts of one
    matrix are stored by themselves."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    if not store_results(module) + store_parts(module) + make_linear_layers(module):
        return program
    try:
        return reexport(module, program, tracing_inputs(program))
    except UnsupportedModel:  # then it stays as it is, and reports tell why a layer is not treated
        return program
