"""The interface of a step: what runs in a clean child process, with files in and files out and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from burnish.recipe import Target
from workers.checkpoint import Checkpoint

__all__ = ["Made", "Step", "StepContext"]


@dataclass(frozen=True)
class StepContext:
    """All that a step can see."""

    settings: Mapping[str, Any]
    """The step's settings, after defaults, as plain data."""
    inputs: Mapping[str, Path]
    """Input artifacts by role, as read-only files whose digests were checked."""
    folder: Path
    """Empty scratch folder of this attempt. Outputs are written here; all of it is deleted afterwards."""
    target: Target
    seed: int
    progress: Callable[[float, str], None]
    """Called with the share done (0 to 1) and what is being done."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """Where a long step leaves what it would need to go on, and finds what an attempt before it left."""


@dataclass(frozen=True)
class Made:
    """What a step made."""

    outputs: Mapping[str, Path] = field(default_factory=dict)
    """Output artifacts by role; files in the step's folder."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON data for SQL: figures, per-layer treatments, reasons of refusal."""


class Step(ABC):
    """One kind of step. Stateless. Raises `burnish.errors.BurnishError` for every fault it foresees."""

    name: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]] = ("torch",)
    """Distributions whose versions the result depends on: part of the cache key."""
    depends_on_isa: ClassVar[bool] = False
    alone: ClassVar[bool] = False
    """True if nothing else may run on the host meanwhile (measuring)."""

    def parts(self) -> tuple[object, ...]:
        """Objects it is made of, whose classes' modules and libraries count as its own in the cache key."""
        return ()

    @abstractmethod
    def run(self, context: StepContext) -> Made:
        """Does the work."""
