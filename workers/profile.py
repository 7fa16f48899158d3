"""What the step `profile` measures of a program's layers, as the passes that decide by it read it."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from burnish.document import Document

__all__ = ["LayerProfile", "Profile"]


class LayerProfile(Document):
    """One layer that has weights."""

    name: str
    """The owner of its weights, as in `LayerTreatment.layer`: `features.0`."""
    op: str
    """`conv2d`, `linear`, `lstm`, `embedding`, …"""
    parameters: int
    flops: int
    """Multiply-adds of one sample times two."""
    seconds: float
    """Median time of the layer in one call of the whole program."""
    errors: dict[str, float] = Field(default_factory=dict)
    """How far the program's outputs stay from the original's if this layer alone is rounded, by how (`int8`, `int4`,
    `int2`): signal-to-noise ratio in dB. Higher is less sensitive."""


class Profile(Document):
    """All layers of a program, in the order of its calls."""

    layers: tuple[LayerProfile, ...]
    seconds: float
    """Median time of one call of the whole program, in the same runs."""
    batch: int
    threads: int
    bfloat16: bool
    """True if the machine that measured this multiplies bfloat16 faster than float32."""

    def of(self, name: str) -> LayerProfile | None:
        """The layer of that name."""
        return next((layer for layer in self.layers if layer.name == name), None)

    @classmethod
    def read(cls, path: Path) -> Profile:
        """What `write` wrote."""
        return cls.model_validate_json(path.read_bytes())

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(self.model_dump_json())
