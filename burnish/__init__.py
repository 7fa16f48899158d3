"""Burnish makes trained PyTorch models fast to run, and proves it."""

from burnish.capture import capture
from burnish.client import Client
from burnish.passes import Cache, Distill, LowRank, Prune, Quantize, Simplify
from burnish.recipe import Goal, JobSpec, Recipe, Target
from burnish.version import __version__

__all__ = [
    "Cache",
    "Client",
    "Distill",
    "Goal",
    "JobSpec",
    "LowRank",
    "Prune",
    "Quantize",
    "Recipe",
    "Simplify",
    "Target",
    "__version__",
    "capture",
]
