"""Burnish makes trained PyTorch models fast to run, and proves it."""

from burnish.capture import capture
from burnish.client import Client
from burnish.passes import Distill, Prune, Quantize
from burnish.recipe import Goal, JobSpec, Recipe, Target
from burnish.version import __version__

__all__ = ["Client", "Distill", "Goal", "JobSpec", "Prune", "Quantize", "Recipe", "Target", "__version__", "capture"]
