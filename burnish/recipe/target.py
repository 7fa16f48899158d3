"""Where the result must run, and what it must reach."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, model_validator

from burnish.document import Document
from burnish.recipe.quantities import Bytes, Fraction, Seconds

__all__ = ["AUTOMATIC_BACKENDS", "BACKENDS", "BACKEND_DEVICES", "Backend", "Goal", "Target"]

Backend = Literal["inductor", "onnxruntime", "openvino", "eager", "executorch"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
"""What can lower a program into an artifact that runs alone."""
AUTOMATIC_BACKENDS: tuple[Backend, ...] = ("inductor", "onnxruntime", "openvino")
"""Those that `auto` tries. The others are for who asks for them: they make something else than the fastest artifact."""
BACKEND_DEVICES: dict[Backend, tuple[str, ...]] = {
    "inductor": ("cpu", "cuda"),
    "onnxruntime": ("cpu",),
    "openvino": ("cpu",),
    "eager": ("cpu", "cuda"),
    "executorch": ("cpu",),
}
"""Where the artifacts of each run."""


class Target(Document):
    """The machine class and the way the model is called there."""

    device: str = Field("cpu", pattern=r"^[a-z][a-z0-9_-]*$")
    """Device class, served by at least one live worker: `cpu`, `cuda`, …"""
    threads: int = Field(1, ge=1, le=1024)
    """Threads the model may use."""
    batch: int = Field(1, ge=1, le=65_536)
    """Samples per call at which it is measured."""
    backend: Literal["auto", Backend] = "auto"
    """`auto`: inductor, onnxruntime and openvino are tried as far as they fit, and the fastest that verifies wins."""

    @property
    def backends(self) -> tuple[Backend, ...]:
        """The backends to try."""
        return AUTOMATIC_BACKENDS if self.backend == "auto" else (self.backend,)


class Goal(Document):
    """What to minimize, within which limits. A limit that is not given does not bind."""

    minimize: Literal["latency", "size"] = "latency"
    """Median time of one call, or bytes of the artifact."""
    max_drop: Fraction | None = Field(None, ge=0.0, le=1.0)
    """Largest loss of quality on held-out data, as a share of one: top-1 accuracy with labels (`0.5%` = 0.5 points),
    without labels disagreement with the original."""
    max_size: Bytes | None = Field(None, gt=0)
    """Largest artifact, in bytes."""
    max_latency: Seconds | None = Field(None, gt=0.0)
    """Longest median time of one call, in seconds."""
    search_time: Seconds = Field(3600.0, gt=0.0, examples=["30min"])
    """Without passes: no further round of the search begins once its steps took this long in sum."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return {} if value is None else value
