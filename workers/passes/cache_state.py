"""Carried state: a program over a window of steps becomes one over a single step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.passes import Cache
from burnish.results import LayerTreatment
from workers.calling import CarriedTensor, StateContract
from workers.carried import reference, shorter_windows
from workers.graphs.step_program import step_program
from workers.graphs.window import CantCarry, Window
from workers.measure.quality import sqnr_db
from workers.passes.base import Applied, PassContext
from workers.programs import batch_range

__all__ = ["carry", "obstacles"]

LEAST_DB = 60.0
"""What the steps must reach against the window: as for any float artifact (`workers/measure/reproduction.py`)."""
LEAST_DB_INT8 = 20.0
"""Where values are rounded to integers, a difference in the last bit moves one by a whole step."""
SAMPLES = 4


def obstacles(program: ExportedProgram, settings: Cache) -> Sequence[str]:
    """Why the window can't be computed step by step (empty: it can)."""
    try:
        step_program(program, settings.time_axis, settings.max_length)
    except CantCarry as reason:
        return [str(reason)]
    return []


def carry(program: ExportedProgram, settings: Cache, context: PassContext) -> Applied:
    """Makes the program of one step, and holds it against the window's on calibration samples.

    Raises:
        UnsupportedModel: its outputs differ.
    """
    context.progress(0.1, "writing the program of one step")
    step, contract = step_program(program, settings.time_axis, settings.max_length)
    context.progress(0.5, "comparing steps with windows")
    agreement, prefixes = _agreement(program, step, contract, context)
    bytes_per_sample = sum(_bytes(state) for state in contract.states)
    figures = {
        "state_tensors": float(len(contract.states)),
        "state_bytes_per_sample": float(bytes_per_sample),
        "agreement_db": agreement,
        "windows_compared": float(prefixes),
    }
    if contract.most_steps is not None:
        figures["most_steps"] = float(contract.most_steps)
    layers = tuple(_treatment(state, contract) for state in contract.states)
    return Applied(step, changed=True, layers=layers, figures=figures, calling=contract)


def _agreement(
    program: ExportedProgram, step: ExportedProgram, contract: StateContract, context: PassContext
) -> tuple[float, int]:
    """The worst ratio in dB over windows of several lengths, and how many there were."""
    window, stepped = reference(program), reference(step, contract)
    ratios = []
    for inputs in _windows(program, contract, context):
        ratios.append(sqnr_db(window(inputs), stepped(inputs)))
    worst, needed = min(ratios), LEAST_DB_INT8 if _rounds(program) else LEAST_DB
    if math.isnan(worst) or worst < needed:
        raise UnsupportedModel(
            f"Computed step by step, its outputs differ from those of the window ({worst:.1f} dB, at least "
            f"{needed:.0f} dB is needed).",
            cure="Leave `cache` out, and report the model: it should have been refused with a reason.",
        )
    return worst, len(ratios)


def _windows(
    program: ExportedProgram, contract: StateContract, context: PassContext
) -> Iterator[Sequence[np.ndarray[Any, Any]]]:
    """Samples as windows: of full length, and their beginnings where the length is dynamic."""
    low, high = batch_range(program)
    axis = contract.inputs[0].axis
    size = max(low, min(SAMPLES, high or SAMPLES))
    rows = torch.arange(size) % len(context.calibration)
    inputs = [tensor[rows].numpy() for tensor in context.calibration.inputs]
    length, bounds = inputs[0].shape[axis], Window(program, axis, None).lengths
    if contract.most_steps is not None and length > contract.most_steps:
        raise UnsupportedModel(
            f"The samples are windows of {length} steps, and a sequence may have {contract.most_steps}.",
            cure="Raise `max_length`.",
        )
    yield inputs
    for steps, shorter in shorter_windows(inputs, contract):
        if bounds[0] <= steps <= bounds[1]:
            yield shorter


def _treatment(state: CarriedTensor, contract: StateContract) -> LayerTreatment:
    shape = " × ".join("batch" if side is None else str(side) for side in state.shape)
    what = "counts the steps" if state.name.endswith("position") else "carried from step to step, at first zeros"
    return LayerTreatment(layer=state.name, treatment=f"state {shape} {state.dtype}", reason=what)


def _bytes(state: CarriedTensor) -> int:
    return math.prod(side or 1 for side in state.shape) * np.dtype(state.dtype).itemsize


def _rounds(program: ExportedProgram) -> bool:
    return any("quantized_decomposed.quantize" in str(node.target) for node in program.graph.nodes)
