"""The passes a recipe can name, as typed settings."""

from burnish.passes.base import Need, PassSettings
from burnish.passes.cache import Cache
from burnish.passes.distill import Distill
from burnish.passes.prune import Prune
from burnish.passes.quantize import Quantize

__all__ = ["PASSES", "Cache", "Distill", "Need", "PassSettings", "Prune", "Quantize"]

PASSES: dict[str, type[PassSettings]] = {kind.name: kind for kind in (Prune, Distill, Quantize, Cache)}
"""By name, in the order they usually stand in."""
