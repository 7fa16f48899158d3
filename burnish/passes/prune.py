"""Settings of structured pruning."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from burnish.passes.base import Need, PassSettings

__all__ = ["Prune"]


class Prune(PassSettings):
    """Removes whole channels, so that every backend runs less arithmetic. Follow it with `distill`."""

    name: ClassVar[str] = "prune"
    summary: ClassVar[str] = "Removes the least important channels for good, across residual and concatenated branches."
    needs: ClassVar[frozenset[Need]] = frozenset()
    never_after: ClassVar[frozenset[str]] = frozenset({"quantize"})

    kind: Literal["structured"] = "structured"
    """`structured`: whole output channels, with everything that depends on them."""
    ratio: float = Field(0.5, gt=0.0, lt=1.0)
    """Share of the prunable channels to remove, 0 < ratio < 1."""
    scope: Literal["layer", "global"] = "layer"
    """`layer`: the same share of every group of coupled layers; `global`: the least important ones anywhere."""
    importance: Literal["magnitude", "bn_scale"] = "magnitude"
    """`magnitude`: L2 norm of the weights a channel owns (Li et al. 2017, arXiv:1608.08710), normalised per group;
    `bn_scale`: |scale| of the batch norm behind it (Liu et al. 2017, arXiv:1708.06519)."""
    round_to: int = Field(8, ge=1, le=256)
    """Kept channel counts are multiples of this (the vector width that hardware likes), where the ratio allows it."""

    def least_size_factor(self) -> float:
        return (1.0 - self.ratio) ** 2
