"""All rows."""

from __future__ import annotations

from benchmarks.breadth.architecture import Architecture
from benchmarks.breadth.sequences import SEQUENCES
from benchmarks.breadth.vision import VISION

__all__ = ["ARCHITECTURES", "ARCHITECTURES_BY_NAME", "Architecture"]

ARCHITECTURES = (*VISION, *SEQUENCES)
ARCHITECTURES_BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}
