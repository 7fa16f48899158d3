"""The passes a recipe can name, as typed settings."""

from burnish.passes.base import Need, PassSettings
from burnish.passes.cache import Cache
from burnish.passes.distill import Distill
from burnish.passes.low_rank import LowRank
from burnish.passes.prune import Prune, PruneSchedule
from burnish.passes.quantize import Quantize
from burnish.passes.simplify import Simplify

__all__ = [
    "PASSES",
    "Cache",
    "Distill",
    "LowRank",
    "Need",
    "PassSettings",
    "Prune",
    "PruneSchedule",
    "Quantize",
    "Simplify",
]

PASSES: dict[str, type[PassSettings]] = {
    kind.name: kind for kind in (Simplify, Prune, LowRank, Distill, Quantize, Cache)
}
"""By name, in the order they usually stand in."""
