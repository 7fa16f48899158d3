"""Programs and their inputs on the device of the target."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

__all__ = ["Card", "missing_device", "moved_to"]


@dataclass(frozen=True)
class Card:
    """What of a CUDA device decides how quantized and sparse layers run on it."""

    capability: tuple[int, int]
    """Compute capability: (8, 0) is Ampere, (8, 9) Ada, (9, 0) Hopper."""
    sparse: bool
    """True if this build of torch has cuSPARSELt, for weights with two zeros in each four."""

    @classmethod
    def here(cls) -> Card:
        """The current device."""
        return cls(torch.cuda.get_device_capability(), torch.backends.cusparselt.is_available())

    @property
    def tensor_cores(self) -> bool:
        """True if it has products in bfloat16, the 4-bit kernel and sparse tensor cores: from Ampere on."""
        return self.capability >= (8, 0)

    def __str__(self) -> str:
        return ".".join(str(part) for part in self.capability)


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
