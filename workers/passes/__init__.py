"""The passes, by name: one file each."""

from typing import Any

from workers.passes.base import Pass
from workers.passes.cache import CachePass
from workers.passes.distill import DistillPass
from workers.passes.low_rank import LowRankPass
from workers.passes.prune import PrunePass
from workers.passes.quantize import QuantizePass
from workers.passes.simplify import SimplifyPass

__all__ = ["RUNNERS"]

RUNNERS: dict[str, Pass[Any]] = {
    "simplify": SimplifyPass(),
    "prune": PrunePass(),
    "low_rank": LowRankPass(),
    "distill": DistillPass(),
    "quantize": QuantizePass(),
    "cache": CachePass(),
}
"""What runs each pass of `burnish.passes.PASSES`, by the same name."""
