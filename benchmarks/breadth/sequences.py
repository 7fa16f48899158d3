"""Text, speech and time series."""

from __future__ import annotations

from benchmarks.breadth.architecture import Architecture

__all__ = ["SEQUENCES"]

SEQUENCES: tuple[Architecture, ...] = ()
