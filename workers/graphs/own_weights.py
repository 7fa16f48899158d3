"""A program as a module with weights of its own, and a program with the weights of such a module."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from workers.graphs.reexport import reexport
from workers.graphs.stored_values import set_attribute
from workers.programs import tracing_inputs

__all__ = ["load_state", "state", "with_own_weights", "with_state"]


def with_own_weights(program: ExportedProgram) -> GraphModule:
    """The program as a module that can be trained; `ExportedProgram.module` shares its weights with the program."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    owned: dict[int, torch.Tensor] = {}
    for name, tensor in state(module).items():
        if id(tensor) not in owned:
            owned[id(tensor)] = copy.deepcopy(tensor)
        set_attribute(module, name, owned[id(tensor)])
    return module


def state(module: GraphModule) -> dict[str, torch.Tensor]:
    """Parameters and buffers; one with two names under both."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }


def load_state(module: GraphModule, weights: Mapping[str, torch.Tensor]) -> None:
    """Copies into a module the weights that `state` gave."""
    with torch.no_grad():
        for name, tensor in state(module).items():
            tensor.copy_(weights[name])


def with_state(weights: Mapping[str, torch.Tensor], program: ExportedProgram) -> ExportedProgram:
    """A new program with the graph of `program` and these weights, by the names that `state` gives."""
    module = with_own_weights(program)
    load_state(module, weights)
    return reexport(module, program, tracing_inputs(program))
