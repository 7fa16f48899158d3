"""Programs and their inputs on the device of the target."""

from __future__ import annotations

import copy

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

__all__ = ["missing_device", "moved_to"]


def missing_device(device: str) -> str | None:
    """Why this worker can't run torch on the device; `None`: it can."""
    if device == "cuda" and not torch.cuda.is_available():
        return "This worker sees no CUDA device. Start one that does."
    return None


def moved_to(program: ExportedProgram, device: str) -> ExportedProgram:
    """The program with its weights, constants and the device arguments of its operators on `device`.

    An upload is on the processor (the archive's check sees to that), so for `cpu` the program is returned as it is.
    `program` itself stays where it was.
    """
    if device == "cpu":
        return program
    return move_to_device_pass(copy.deepcopy(program), device)  # torch's pass moves what it is given
