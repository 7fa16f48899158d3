"""Settings of low-rank factorization."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from burnish.passes.base import Need, PassSettings
from burnish.passes.prune import Prune

__all__ = ["LowRank"]


class LowRank(PassSettings):
    """Splits a large layer into two small ones by a singular value decomposition. Follow it with `distill`."""

    name: ClassVar[str] = "low_rank"
    summary: ClassVar[str] = (
        "Splits linear and convolution layers in two smaller ones by a singular value decomposition."
    )
    understands: ClassVar[str] = "Linear layers, products with stored matrices, and convolutions of one group."
    needs: ClassVar[frozenset[Need]] = frozenset({"calibration"})
    never_after: ClassVar[frozenset[str]] = frozenset({"quantize", "cache"})

    ratio: float = Field(0.5, gt=0.0, lt=1.0)
    """Share of a layer's multiply-adds to save. The rank follows from it, rounded down to `round_to`."""
    energy: float | None = Field(None, gt=0.0, le=1.0)
    """If given, it decides instead: the smallest rank that keeps this share of the squared error's range. A layer for
    which that rank saves less than `ratio` is left alone."""
    whiten: bool = True
    """Weighs directions by how much the calibration data use them (as in SVD-LLM, arXiv:2403.07378), so that the error
    of the outputs is least, not that of the weights."""
    round_to: int = Field(8, ge=1, le=256)
    """Ranks are multiples of this, the vector width that hardware likes."""
    layers: dict[str, Annotated[float, Field(ge=0.0, lt=1.0)]] = Field(default_factory=dict)
    """Another ratio for some layers, by pattern of their names (`encoder.*: 0.3`); 0 leaves them alone. The first that
    fits counts."""

    def least_size_factor(self) -> float:
        return min([1.0 - self.ratio, *(1.0 - ratio for ratio in self.layers.values())]) * 0.5

    def conflict_with(self, earlier: PassSettings) -> str | None:
        if isinstance(earlier, Prune) and earlier.kind != "structured":
            return "Two factors of a sparse matrix are dense, so the zeros would be lost. Leave one of the two out."
        return None
