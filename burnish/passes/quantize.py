"""Settings of quantization."""

from __future__ import annotations

from typing import ClassVar, Literal

from burnish.passes.base import Need, PassSettings

__all__ = ["Quantize"]


class Quantize(PassSettings):
    """Stores and computes in int8: weights per channel, activations per tensor with calibrated ranges."""

    name: ClassVar[str] = "quantize"
    summary: ClassVar[str] = "Static int8: weights per channel, activations calibrated on the dataset."
    needs: ClassVar[frozenset[Need]] = frozenset({"calibration"})
    never_after: ClassVar[frozenset[str]] = frozenset({"quantize"})

    weights: Literal["int8"] = "int8"
    """Bits of a weight, symmetric per output channel."""
    activations: Literal["int8"] = "int8"
    """Bits of an activation, one range per tensor, from the calibration data."""
    calibration: Literal["minmax", "histogram"] = "histogram"
    """`minmax`: the extremes seen; `histogram`: the range with the least mean squared error."""

    def least_size_factor(self) -> float:
        return 0.25
