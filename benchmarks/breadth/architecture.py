"""What one row of the breadth table is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

__all__ = ["SAMPLES", "Architecture"]

SAMPLES = 20
"""Samples that `build` makes: the fewest that a job takes."""


@dataclass(frozen=True)
class Architecture:
    """A network as a package defines it, small enough that all its cells take about a minute."""

    name: str
    """Unique in the table; a folder's name."""
    family: str
    """Rows of one family stand together in the page."""
    packages: tuple[str, ...]
    """Wheels of PyPI, `name==version`, which `build` may import; they are taken without their dependencies."""
    build: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]
    """The module with random weights, and `SAMPLES` samples of each input, batch first: the first exports it, all
    of them are the dataset. It imports its packages when it is called."""
    distills: bool = False
    """True runs the cell that distills, too: it takes longer than the others together."""
    stepwise: bool = False
    """True for what reads its inputs step by step: the cells of rounding as they come and of carried state run, too."""
