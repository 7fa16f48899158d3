"""The chains that every architecture goes through, and the backends that lower what comes of each."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.breadth.architecture import Architecture
from benchmarks.matrix.cells import Cell
from burnish.passes import Cache, Distill, LowRank, Prune, Quantize, Simplify
from burnish.recipe import Backend

__all__ = ["BACKENDS", "CELLS", "CELLS_BY_NAME", "cells_of"]

CELLS = (
    Cell("as-is", "as it is"),
    Cell("int8", "simplify, prune 0.3, int8 static", (Simplify(), Prune(ratio=0.3), Quantize())),
    Cell("int4", "low rank 0.5, int4 gptq in groups of 32",
         (LowRank(ratio=0.5), Quantize(weights="int4", rounding="gptq", group=32))),
    Cell("bfloat16", "2:4 zeros, bfloat16", (Prune(kind="2:4"), Quantize(weights="bfloat16"))),
    Cell("int2", "int2 hqq", (Quantize(weights="int2", rounding="hqq"),)),
    Cell("dynamic", "prune 0.3, int8 dynamic, embeddings too",
         (Prune(ratio=0.3), Quantize(activations="dynamic", embeddings=True))),
    Cell("state", "carried state", (Cache(kind="state"),)),
    Cell("distilled", "prune 0.3, distilled for an epoch", (Prune(ratio=0.3), Distill(epochs=1))),
)  # fmt: skip
CELLS_BY_NAME = {cell.name: cell for cell in CELLS}
BACKENDS: dict[str, tuple[Backend, ...]] = {
    "as-is": ("onnxruntime", "openvino"),
    "int8": ("onnxruntime",),
    "int4": ("openvino",),
    "bfloat16": ("openvino",),
    "int2": ("onnxruntime",),
    "dynamic": ("onnxruntime",),
    "state": ("onnxruntime",),
    "distilled": ("onnxruntime",),
}
"""Lowering takes most of the time, so that a chain is lowered by one of them; both see floats and few bits."""


def cells_of(architecture: Architecture) -> Sequence[Cell]:
    """Those that are run for it."""
    left_out = set() if architecture.stepwise else {"dynamic", "state"}
    left_out |= set() if architecture.distills else {"distilled"}
    return [cell for cell in CELLS if cell.name not in left_out]
