"""Pruning: whole channels, heads and units, or single weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch.export import ExportedProgram

from burnish.passes import Prune
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.prune_channels import prune_channels, why_not_channels
from workers.passes.prune_weights import prune_weights, why_not_weights

__all__ = ["PrunePass"]


class PrunePass(Pass[Prune]):
    """Removes channels (`workers.passes.prune_channels`), or sets weights to zero (`workers.passes.prune_weights`)."""

    settings: ClassVar[type[Prune]] = Prune

    def requires(self, program: ExportedProgram, settings: Prune) -> Sequence[str]:
        why_not = why_not_channels if settings.kind == "structured" else why_not_weights
        return why_not(program, settings)

    def apply(self, program: ExportedProgram, settings: Prune, context: PassContext) -> Applied:
        treat = prune_channels if settings.kind == "structured" else prune_weights
        return treat(program, settings, context)
