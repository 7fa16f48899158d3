"""Settings of recovery by distillation."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field

from burnish.passes.base import Need, PassSettings

__all__ = ["Distill"]


class Distill(PassSettings):
    """Trains the changed model to give the original's outputs again. Needs no labels."""

    name: ClassVar[str] = "distill"
    summary: ClassVar[str] = "Recovers quality by training against the original's outputs on the calibration data."
    needs: ClassVar[frozenset[Need]] = frozenset({"calibration"})
    never_after: ClassVar[frozenset[str]] = frozenset({"quantize", "cache"})

    epochs: int = Field(10, ge=1, le=10_000)
    """Passes over the calibration data."""
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0)
    """Peak of the one-cycle schedule, for AdamW."""
    temperature: float = Field(2.0, gt=0.0, le=100.0)
    """Softens both distributions (Hinton et al. 2015, arXiv:1503.02531). Only for outputs that are class scores."""
    batch_size: int = Field(32, ge=1, le=65_536)
    """Samples per step."""
    augment: bool = True
    """Mixes pairs of samples and adds small noise to them, so that a small calibration set covers more."""

    def shrunk(self) -> Self:
        return self.model_copy(update={"epochs": 1})

    def work(self, samples: int) -> float:
        return float(samples * self.epochs)
