"""Structured pruning: whole channels go, through residual sums, concatenations, depthwise layers and heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from torch.export import ExportedProgram

from burnish.passes import Prune
from workers.graphs.channels import RETURNED
from workers.graphs.labels import LabelArray
from workers.graphs.reexport import reexport
from workers.graphs.shrink import shrink
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.channel_importance import importance
from workers.passes.channel_selection import least_important, selectable
from workers.passes.coupling import Coupling, couple, weights
from workers.passes.prune_report import treatments
from workers.programs import example_inputs

__all__ = ["PrunePass"]

EXAMPLE_BATCH = 3
"""Any batch above 1 would do: tracing takes 0 and 1 for constants."""


class PrunePass(Pass[Prune]):
    """Removes the least important channels.

    1. Every channel of every tensor gets a label, and the operators tie labels (`workers.passes.coupling`). What is
       tied is one class: it stays or goes as a whole, so no kind of network needs a case of its own.
    2. A class that reaches an output, or an operator that works across channels, stays, with the reason in the report.
    3. Classes made by the same layers form a group. Within it the least important go, down to a count that is a
       multiple of `round_to`; a group never goes as a whole (`workers.passes.channel_selection`).
    4. Weights are sliced, sizes in the graph mended, and the result is exported anew, which checks every shape.
    """

    settings: ClassVar[type[Prune]] = Prune

    def requires(self, program: ExportedProgram, settings: Prune) -> Sequence[str]:
        coupling = couple(program)
        if not coupling.groups:
            return [f"No channel of this model can be removed: {_obstacle(coupling)}. Leave `prune` out of the recipe."]
        if not selectable(coupling, importance(coupling, settings.importance)):
            return ["No batch norm scales a channel that could be removed. Set `importance: magnitude`."]
        return []

    def apply(self, program: ExportedProgram, settings: Prune, context: PassContext) -> Applied:
        context.progress(0.0, "finding coupled channels")
        coupling = couple(program)
        scores = importance(coupling, settings.importance)
        removed = least_important(coupling, scores, settings)
        layers = treatments(coupling, scores, removed, settings)
        if not len(removed):
            return Applied(program, changed=False, layers=layers, figures=_figures(coupling, removed))
        context.progress(0.3, f"removing {len(removed)} of {_count(coupling)} coupled channels")
        figures = _figures(coupling, removed)
        shrink(coupling.module, coupling.trace, removed)
        made = reexport(coupling.module, program, example_inputs(program, EXAMPLE_BATCH, context.seed))
        context.progress(1.0, "pruned")
        return Applied(made, changed=True, layers=layers, figures=figures)


def _count(coupling: Coupling) -> int:
    return sum(len(group.classes) for group in coupling.groups)


def _figures(coupling: Coupling, removed: LabelArray) -> dict[str, float]:
    """Counts of coupled channels, and of weights before and after."""
    total = {"weights_before": 0, "weights_after": 0}
    for name, tensor in weights(coupling):
        total["weights_before"] += tensor.numel()
        kept = [np.isin(slot.classes, removed, invert=True).mean() for slot in coupling.slots if slot.name == name]
        total["weights_after"] += round(tensor.numel() * float(np.prod(kept)))
    return {"channels": _count(coupling), "channels_removed": len(removed), **total}


def _obstacle(coupling: Coupling) -> str:
    """The reasons, those of hidden layers first: that the outputs stay goes without saying."""
    found = dict.fromkeys(coupling.reason(slot.classes) for slot in coupling.slots)
    reasons = [reason for reason in found if reason is not None]
    hidden = [reason for reason in reasons if reason != RETURNED]
    return "; ".join((hidden or reasons)[:3]) or "it has no layer with more than one channel"
