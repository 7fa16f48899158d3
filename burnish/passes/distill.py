"""Settings of recovery by distillation."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field

from burnish.passes.base import Need, PassSettings
from burnish.passes.quantize import Quantize

__all__ = ["Distill"]


class Distill(PassSettings):
    """Trains the changed model, or a smaller one of the user's, to give the original's outputs. Needs no labels."""

    name: ClassVar[str] = "distill"
    summary: ClassVar[str] = "Recovers quality by training against the original's outputs on the calibration data."
    understands: ClassVar[str] = "Every operator that torch differentiates; rounded weights keep their codes' form."
    needs: ClassVar[frozenset[Need]] = frozenset({"calibration"})
    may_need: ClassVar[frozenset[Need]] = frozenset({"labels"})
    never_after: ClassVar[frozenset[str]] = frozenset({"cache"})

    student: str | None = Field(None, min_length=1, max_length=200)
    """Another uploaded model, smaller and with the same inputs and outputs, that is trained in place of the program so
    far: its id, its name, or `name:version`. Passes before this one would be lost, so it comes first."""
    epochs: int = Field(10, ge=1, le=10_000)
    """Passes over the calibration data."""
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0)
    """Peak of the one-cycle schedule, for AdamW."""
    temperature: float = Field(2.0, gt=0.0, le=100.0)
    """Softens both distributions (Hinton et al. 2015, arXiv:1503.02531). Only for outputs that are class scores."""
    labels: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the loss that the dataset's targets have: 0 learns from the original alone, 1 from labels alone."""
    features: float = Field(0.0, ge=0.0, le=10.0)
    """Weight of a second loss: inner layers of both models have to find the same pairs of samples alike (Tung and Mori
    2019, arXiv:1907.09682), whatever their widths. 0 leaves it out."""
    batch_size: int = Field(32, ge=1, le=65_536)
    """Samples per step."""
    augment: bool = True
    """Mixes pairs of samples and adds small noise to them, so that a small calibration set covers more."""

    def reads(self) -> frozenset[Need]:
        return self.needs | {"labels"} if self.labels else self.needs

    def conflict_with(self, earlier: PassSettings) -> str | None:
        if isinstance(earlier, Quantize) and earlier.weights in ("bfloat16", "float16"):
            return f"Steps of training are too small for {earlier.weights}. Put `distill` before `quantize`."
        if self.student is None:
            return None
        return "A student takes the program's place, so what a pass before it does would be lost. Put `distill` first."

    def wants_student(self) -> str | None:
        return self.student

    def shrunk(self) -> Self:
        return self.model_copy(update={"epochs": 1})

    def work(self, samples: int) -> float:
        return float(samples * self.epochs)
