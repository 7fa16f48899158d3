"""Structured pruning: whole channels go, through residual sums, concatenations, depthwise layers, heads and gates."""

from __future__ import annotations

from collections.abc import Sequence

from torch.export import ExportedProgram

from burnish.errors import InternalError
from burnish.passes import Prune
from workers.graphs.channels import RETURNED
from workers.graphs.own_weights import with_own_weights
from workers.graphs.reexport import reexport
from workers.graphs.shrink import shrink
from workers.passes.base import Applied, PassContext
from workers.passes.channel_importance import Scores, importance, taylor
from workers.passes.channel_pools import pools
from workers.passes.channel_selection import least_important
from workers.passes.channel_time import LayerTimes
from workers.passes.coupling import Coupling, couple, weights
from workers.passes.prune_gradients import gradients
from workers.passes.prune_names import unknown_patterns
from workers.passes.prune_report import ChannelReport
from workers.programs import tracing_inputs

__all__ = ["prune_channels", "why_not_channels"]


def why_not_channels(program: ExportedProgram, settings: Prune) -> Sequence[str]:
    """Why no channel of the program can go at all; empty if some can."""
    coupling = _coupled(program, settings)
    if reasons := unknown_patterns(settings, [name for name, _ in weights(coupling)]):
        return reasons
    if not coupling.groups:
        return [f"No channel of this model can be removed: {_obstacle(coupling)}. Leave `prune` out of the recipe."]
    if settings.importance == "bn_scale" and not pools(coupling, importance(coupling, "bn_scale"), settings):
        return ["No batch norm scales a channel that could be removed. Set `importance: magnitude`."]
    return []


def prune_channels(program: ExportedProgram, settings: Prune, context: PassContext) -> Applied:
    """Removes the least important channels.

    1. Every channel of every tensor gets a label, and the operators tie labels (`workers.passes.coupling`). What is
       tied is one class: it stays or goes as a whole, so no kind of network needs a case of its own.
    2. A class that reaches an output, or an operator that works across channels, stays, with the reason in the report.
    3. Classes made by the same layers form a group. Within it the least important go, down to a count that is a
       multiple of `round_to`; a group never goes as a whole (`workers.passes.channel_selection`).
    4. Weights are sliced, sizes in the graph mended, and the result is exported anew, which checks every shape. It
       computes what the incoming program does with the removed channels' weights at zero.

    Raises:
        InternalError: scope `time` without a profile.
    """
    context.progress(0.0, "finding coupled channels")
    coupling = _coupled(program, settings)
    scores = _scores(coupling, program, settings, context)
    times = _times(coupling, settings, context)
    removed = least_important(coupling, scores, settings, times)
    profile = context.profile if settings.scope == "time" else None
    report = ChannelReport(coupling, scores, removed, settings, profile)
    layers, figures = report.treatments(), _figures(report, times)
    if not len(removed):
        return Applied(program, changed=False, layers=layers, figures=figures)
    context.progress(0.5, f"removing {len(removed)} of {_count(coupling)} coupled channels")
    shrink(coupling.module, coupling.trace, removed)
    made = reexport(coupling.module, program, tracing_inputs(program))
    context.progress(1.0, "pruned")
    return Applied(made, changed=True, layers=layers, figures=figures)


def _coupled(program: ExportedProgram, settings: Prune) -> Coupling:
    return couple(program, rescale=settings.layer_norm == "rescale")


def _scores(coupling: Coupling, program: ExportedProgram, settings: Prune, context: PassContext) -> Scores:
    if settings.importance == "taylor":
        context.progress(0.1, "measuring the effect of each channel on the loss")
        return taylor(coupling, gradients(with_own_weights(program), context))
    return importance(coupling, settings.importance)


def _times(coupling: Coupling, settings: Prune, context: PassContext) -> LayerTimes | None:
    if settings.scope != "time":
        return None
    if context.profile is None:
        raise InternalError("`scope: time` came without a profile.", cure="Set `scope: layer`, and report it.")
    return LayerTimes(coupling, context.profile)


def _count(coupling: Coupling) -> int:
    return sum(len(group.classes) for group in coupling.groups)


def _figures(report: ChannelReport, times: LayerTimes | None) -> dict[str, float]:
    """Counts of coupled channels, and of weights before and after; with times, the share that should be saved."""
    sizes = {name: tensor.numel() for name, tensor in weights(report.coupling)}
    found: dict[str, float] = {
        "channels": _count(report.coupling),
        "channels_removed": len(report.removed),
        "weights_before": sum(sizes.values()),
        "weights_after": sum(round(size * report.share_left(name)) for name, size in sizes.items()),
    }
    if times is not None:
        found["layer_seconds_before"] = times.measured
        found["layer_seconds_expected"] = times.left()
    return found


def _obstacle(coupling: Coupling) -> str:
    """The reasons, those of hidden layers first: that the outputs stay goes without saying."""
    found = dict.fromkeys(coupling.reason(slot.classes) for slot in coupling.slots)
    reasons = [reason for reason in found if reason is not None]
    hidden = [reason for reason in reasons if reason != RETURNED]
    return "; ".join((hidden or reasons)[:3]) or "it has no layer with more than one channel"
