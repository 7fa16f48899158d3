"""The chains that every architecture goes through."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.breadth.architecture import Architecture
from benchmarks.matrix.cells import Cell
from burnish.passes import Distill, LowRank, Prune, Quantize, Simplify

__all__ = ["CELLS", "cells_of"]

CELLS = (
    Cell("as-is", "as it is"),
    Cell("int8", "simplify, prune 0.3, int8 static", (Simplify(), Prune(ratio=0.3), Quantize())),
    Cell("int4", "low rank 0.5, int4 gptq in groups of 32",
         (LowRank(ratio=0.5), Quantize(weights="int4", rounding="gptq", group=32))),
    Cell("bfloat16", "2:4 zeros, bfloat16", (Prune(kind="2:4"), Quantize(weights="bfloat16"))),
    Cell("int2", "int2 hqq", (Quantize(weights="int2", rounding="hqq"),)),
    Cell("distilled", "prune 0.3, distilled for an epoch", (Prune(ratio=0.3), Distill(epochs=1))),
)  # fmt: skip


def cells_of(architecture: Architecture) -> Sequence[Cell]:
    """Those that are run for it."""
    return [cell for cell in CELLS if architecture.distills or cell.name != "distilled"]
