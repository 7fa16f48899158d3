"""The interface of a backend: what lowers a program into one file that stock software runs without Burnish."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from torch.export import ExportedProgram

from burnish.recipe import BACKEND_DEVICES, Backend, Target
from workers.passes.base import Samples

__all__ = ["BackendRunner", "Lowered"]


@dataclass(frozen=True)
class Lowered:
    """The artifact a backend wrote, and what a reader of the report should know of how."""

    path: Path
    notes: tuple[str, ...] = ()
    """For example which layers were kept in float, and why."""


class BackendRunner(ABC):
    """One backend. Its loader, which runs without Burnish, is `workers/standalone/load_<name>.py`."""

    name: ClassVar[Backend]
    filename: ClassVar[str]
    """Name of the artifact for users: `model.pt2`, `model.onnx`."""
    libraries: ClassVar[tuple[str, ...]]
    """Distributions whose versions the artifact depends on: part of the cache key."""
    depends_on_isa: ClassVar[bool]
    """True if the bytes are for this machine's instruction set: then the ISA is part of the cache key."""
    automatic: ClassVar[bool]
    """True if `backend: auto` tries it; as `burnish.recipe.AUTOMATIC_BACKENDS` says to those who import no torch."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Where its artifacts run."""
        return BACKEND_DEVICES[self.name]

    @abstractmethod
    def requires(self, program: ExportedProgram, target: Target) -> Sequence[str]:
        """Reasons why the program can't be lowered (empty: it can)."""

    @abstractmethod
    def lower(self, program: ExportedProgram, target: Target, example: Samples, folder: Path) -> Lowered:
        """Writes the artifact into `folder`.

        Args:
            example: a few calibration samples, for backends that need an input to trace with.

        Raises:
            burnish.errors.UnsupportedModel: if the backend's compiler refuses the program; its words are kept.
        """

    @abstractmethod
    def usage(self, inputs: Sequence[str]) -> str:
        """Lines of Python that load and run `filename` on stock software, for inputs of these names."""
