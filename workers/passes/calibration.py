"""Calibration samples in batches that the program takes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.export import ExportedProgram

from workers.graphs.reexport import dimensions, user_inputs
from workers.passes.base import Samples

__all__ = ["BATCH", "batches"]

BATCH = 32
"""Samples per calibration step, where the program's batch is dynamic."""


def batches(samples: Samples, program: ExportedProgram) -> Iterator[list[torch.Tensor]]:
    """All samples in their order; where the last batch would fall short, it is filled from the start."""
    least, most = _bounds(program)
    total = len(samples)
    for start in range(0, total, most):
        rows = torch.arange(start, max(min(start + most, total), start + least)) % total
        yield [tensor[rows] for tensor in samples.inputs]


def _bounds(program: ExportedProgram) -> tuple[int, int]:
    """Least and greatest batch for a calibration step, both the same if the program's batch is fixed."""
    size = dimensions(user_inputs(program)[0])[0]
    if isinstance(size, int):
        return size, size
    bounds = program.range_constraints.get(size.node.expr)
    least, most = (2, BATCH) if bounds is None else (max(2, bounds.lower), min(BATCH, bounds.upper))
    return int(least), max(int(least), int(most))
