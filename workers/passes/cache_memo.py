"""Memo of repeated inputs: the program stays, and its artifact comes with a memo in front."""

from __future__ import annotations

from torch.export import ExportedProgram

from burnish.passes import Cache
from burnish.results import LayerTreatment
from workers.calling import MemoContract
from workers.passes.base import Applied, PassContext

__all__ = ["remember"]


def remember(program: ExportedProgram, settings: Cache, context: PassContext) -> Applied:
    """Asks for `workers/standalone/memo.py` in front of the artifact. What it costs and saves is measured with it."""
    how = f"inputs and outputs of up to {settings.max_bytes} bytes are kept; equal bytes are equal inputs"
    return Applied(
        program,
        changed=True,
        layers=(LayerTreatment(layer="(model)", treatment="memo of repeated inputs", reason=how),),
        figures={"memo_bytes": float(settings.max_bytes)},
        calling=MemoContract(max_bytes=settings.max_bytes),
    )
