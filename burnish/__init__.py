"""Burnish makes trained PyTorch models fast to run, and proves it."""

from burnish.passes import Distill, Prune, Quantize
from burnish.recipe import Goal, JobSpec, Recipe, Target

__version__ = "0.1.0"

__all__ = ["Distill", "Goal", "JobSpec", "Prune", "Quantize", "Recipe", "Target", "__version__"]
