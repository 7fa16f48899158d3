"""Pruning: whole channels, or single weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch.export import ExportedProgram

from burnish.passes import Prune
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.prune_channels import prune_channels, why_not_channels

__all__ = ["PrunePass"]


class PrunePass(Pass[Prune]):
    """Structured by `workers.passes.prune_channels`."""

    settings: ClassVar[type[Prune]] = Prune

    def requires(self, program: ExportedProgram, settings: Prune) -> Sequence[str]:
        return why_not_channels(program, settings)

    def apply(self, program: ExportedProgram, settings: Prune, context: PassContext) -> Applied:
        return prune_channels(program, settings, context)
