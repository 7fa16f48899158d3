"""The interface of a pass: typed settings (in `burnish/passes/`), `requires`, and `apply`.

The runner does the rest: loading and saving, timing, the checks before and after, errors, and the cache.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import torch
from torch.export import ExportedProgram

from burnish.passes import PassSettings
from burnish.results import LayerTreatment
from workers.calling import Calling
from workers.checkpoint import Checkpoint
from workers.profile import Profile

__all__ = ["Applied", "Pass", "PassContext", "Samples"]

_TOLD = 3
"""Reasons in one sentence; the layers have them all."""

SettingsT = TypeVar("SettingsT", bound=PassSettings)


@dataclass(frozen=True)
class Samples:
    """The calibration part of a dataset, batch first."""

    inputs: tuple[torch.Tensor, ...]
    """In the order of the program's inputs, each of shape (samples, …)."""
    targets: torch.Tensor | None
    """Labels of shape (samples, …), or `None`."""

    def __len__(self) -> int:
        return int(self.inputs[0].shape[0])


@dataclass(frozen=True)
class PassContext:
    """All that a pass may use besides the program and its settings."""

    original: ExportedProgram
    """The program that the user uploaded: the teacher."""
    calibration: Samples
    seed: int
    max_batch: int | None
    """Upper bound of the batch dimension, where the export set one."""
    progress: Callable[[float, str], None]
    """Called with the share done (0 to 1) and what is being done."""
    profile: Profile | None = None
    """Measured time and sensitivity of the original's layers, for a pass whose settings ask for it."""
    student: ExportedProgram | None = None
    """The user's smaller model, for a pass whose settings name one."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """For a pass that takes long: what an earlier attempt left, and where to leave the same."""


@dataclass(frozen=True)
class Applied:
    """What a pass made, and an honest account of it."""

    program: ExportedProgram
    changed: bool
    """False if the program is the one that came in."""
    layers: tuple[LayerTreatment, ...] = ()
    """One entry per layer the pass looked at, those left alone included, each with its reason."""
    figures: dict[str, float] = field(default_factory=dict)
    """For the report: losses, counts, ratios, by name."""
    calling: Calling | None = None
    """How the program is called from now on, if not as the one that came in."""
    reason: str = ""
    """Where nothing changed and the layers don't say why: a sentence that does."""

    @property
    def why_unchanged(self) -> str | None:
        """In one sentence; `None` if something changed."""
        if self.changed:
            return None
        if self.reason:
            return self.reason
        told = list(dict.fromkeys(layer.reason for layer in self.layers if layer.treatment == "left alone"))
        if not told:
            return "It found nothing better than the program that came in."
        more = f"; and {len(told) - _TOLD} more reasons" if len(told) > _TOLD else ""
        return f"Every layer was left alone: {'; '.join(told[:_TOLD])}{more}."


class Pass(ABC, Generic[SettingsT]):
    """One technique. Stateless: one instance serves every call."""

    settings: ClassVar[type[PassSettings]]
    """Its settings class; the name is `settings.name`."""
    libraries: ClassVar[tuple[str, ...]] = ("torch",)
    """Distributions whose versions its result depends on: part of the cache key."""

    @abstractmethod
    def requires(self, program: ExportedProgram, settings: SettingsT) -> Sequence[str]:
        """Reasons why the program can't be treated at all (empty: it can). Each says what to do instead."""

    @abstractmethod
    def apply(self, program: ExportedProgram, settings: SettingsT, context: PassContext) -> Applied:
        """Treats the program. Never fails a whole model for one layer; never changes `program` itself.

        The result keeps the signature and the dynamic batch of `program`.
        """
