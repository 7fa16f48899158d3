"""The columns of the matrix: recipes, one for each technique and the chains that matter."""

from __future__ import annotations

from dataclasses import dataclass

from burnish.passes import Cache, Distill, LowRank, PassSettings, Prune, Quantize, Simplify

__all__ = ["CELLS", "CELLS_BY_NAME", "Cell"]


@dataclass(frozen=True)
class Cell:
    """One recipe."""

    name: str
    words: str
    """What it does, for the table."""
    passes: tuple[PassSettings, ...] = ()


_RECOVER = Distill(epochs=10)

CELLS = (
    Cell("as-is", "nothing: the exported graph, lowered"),
    Cell("simplify", "graph clean-up", (Simplify(),)),
    Cell("prune", "structured 0.3 (channels, heads, units)", (Prune(ratio=0.3),)),
    Cell("prune-distill", "structured 0.3, distilled", (Prune(ratio=0.3), _RECOVER)),
    Cell("zeros", "unstructured 0.5, magnitude", (Prune(kind="unstructured", ratio=0.5),)),
    Cell("2:4", "2:4 zeros, magnitude", (Prune(kind="2:4"),)),
    Cell("low-rank", "low rank 0.5, distilled", (LowRank(), _RECOVER)),
    Cell("int8-static", "int8, static activations", (Quantize(),)),
    Cell("int8-dynamic", "int8, dynamic activations", (Quantize(activations="dynamic"),)),
    Cell("int4", "int4, gptq", (Quantize(weights="int4", rounding="gptq"),)),
    Cell("int3", "int3, gptq", (Quantize(weights="int3", rounding="gptq"),)),
    Cell("int2-hqq", "int2, hqq", (Quantize(weights="int2", rounding="hqq", symmetric=False),)),
    Cell("int2", "int2, gptq", (Quantize(weights="int2", rounding="gptq"),)),
    Cell(
        "int2-recovered",
        "int2 of groups of 16 with zero points, gptq, bias corrected",
        (Quantize(weights="int2", rounding="gptq", symmetric=False, group=16, bias_correction=True),),
    ),
    Cell("int4-distilled", "int4 of groups of 32, gptq, distilled",
         (Quantize(weights="int4", rounding="gptq", group=32), _RECOVER)),
    Cell("int2-distilled", "int2, gptq, distilled", (Quantize(weights="int2", rounding="gptq"), _RECOVER)),
    Cell("mixed", "8, 4 or 2 bits by sensitivity, 4 on average", (Quantize(weights="mixed", rounding="gptq"),)),
    Cell("bfloat16", "bfloat16", (Quantize(weights="bfloat16"),)),
    Cell("fp8", "fp8 weights", (Quantize(weights="fp8"),)),
    Cell("nf4", "nf4 weights", (Quantize(weights="nf4"),)),
    Cell("constants", "cache of constants", (Cache(kind="constants"),)),
    Cell("state", "carried state", (Cache(kind="state"),)),
    Cell("memo", "memo of inputs", (Cache(kind="memo"),)),
    Cell("chain", "prune 0.3, distill, int8 static", (Prune(ratio=0.3), _RECOVER, Quantize())),
    Cell("chain-all", "simplify, prune 0.3, low rank, distill, int4", (
        Simplify(), Prune(ratio=0.3), LowRank(), _RECOVER, Quantize(weights="int4", rounding="gptq"))),
)  # fmt: skip
CELLS_BY_NAME = {cell.name: cell for cell in CELLS}
