"""From a program over a window of steps to one over a single step that carries its state."""

from __future__ import annotations

from torch.export import ExportedProgram

from workers.calling import StateContract
from workers.graphs.step_builder import StepBuilder
from workers.graphs.step_rules import value_of
from workers.graphs.window import Window

__all__ = ["step_program"]


def step_program(program: ExportedProgram, axis: int, max_length: int | None) -> tuple[ExportedProgram, StateContract]:
    """Writes the program of one step; `step_builder.py` says how.

    Args:
        program: all its inputs have the batch along axis 0 and the steps along `axis`.
        max_length: steps that a sequence may have where positions count; `None`: as many as the window.

    Returns:
        the step's program and how it is called.

    Raises:
        CantCarry: the window can't be computed step by step, with the reason.
    """
    builder = StepBuilder(Window(program, axis, max_length))
    graph = builder.window.module.graph
    for node in graph.nodes:
        if node.op == "call_function" and node not in builder.fixed:
            value = value_of(builder, node)
            if value is not None:
                builder.values[node] = value
    (output,) = (node for node in graph.nodes if node.op == "output")
    return builder.finish(program, output.all_input_nodes)
