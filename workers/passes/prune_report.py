"""What pruning did to each layer, in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from burnish.passes import Prune
from burnish.results import LayerTreatment
from workers.graphs.labels import LabelArray
from workers.passes.channel_importance import Scores
from workers.passes.coupling import Coupling, Slot, weights

__all__ = ["treatments"]


def treatments(coupling: Coupling, scores: Scores, removed: LabelArray, settings: Prune) -> tuple[LayerTreatment, ...]:
    """One entry per layer with a weight matrix or kernel, in the order of the graph."""
    made: dict[str, LayerTreatment] = {}
    for name, tensor in weights(coupling):
        layer = _layer(name)
        if tensor.dim() > 1 and layer not in made:
            slots = [slot for slot in coupling.slots if slot.name == name]
            made[layer] = _treatment(coupling, layer, slots, scores, removed, settings)
    return tuple(made.values())


def _layer(name: str) -> str:
    owner, _, _ = name.rpartition(".")
    return owner or name


def _treatment(
    coupling: Coupling, layer: str, slots: list[Slot], scores: Scores, removed: LabelArray, settings: Prune
) -> LayerTreatment:
    changes = [
        f"{'channels' if slot.produces else 'inputs'} {len(slot.classes)} → {kept}"
        for slot in slots
        for kept in [int(np.isin(slot.classes, removed, invert=True).sum())]
        if kept < len(slot.classes)
    ]
    main = next((slot for slot in slots if slot.produces), slots[0] if slots else None)
    if main is None:
        return LayerTreatment(layer=layer, treatment="left alone", reason="it has a single channel")
    if not changes:
        return LayerTreatment(layer=layer, treatment="left alone", reason=_why_left(coupling, main, scores, settings))
    if np.isin(main.classes, removed).any():
        return LayerTreatment(
            layer=layer, treatment=", ".join(changes), reason=_why_cut(coupling, layer, main, settings)
        )
    why = _why_left(coupling, main, scores, settings)
    return LayerTreatment(layer=layer, treatment=", ".join(changes), reason=f"its own channels stay: {why}")


def _why_left(coupling: Coupling, slot: Slot, scores: Scores, settings: Prune) -> str:
    frozen = coupling.reason(slot.classes)
    if frozen is not None:
        return frozen
    for group, values in zip(coupling.groups, scores, strict=True):
        if np.isin(slot.classes, group.classes).any():
            if not len(values):
                return "no batch norm scales its channels, which importance bn_scale needs"
            return (
                f"removing {settings.ratio:g} of its {len(slot.classes)} channels "
                f"leaves all of them once rounded to multiples of {settings.round_to}"
                if settings.scope == "layer" or len(group.classes) <= settings.round_to
                else "its channels matter more than those of other layers"
            )
    return "it has a single channel that could go"


def _why_cut(coupling: Coupling, layer: str, slot: Slot, settings: Prune) -> str:
    others = list(dict.fromkeys(_tied(coupling, layer, slot)))
    words = "squared weights" if settings.importance == "magnitude" else "batch-norm scales"
    tied = f"; together with {', '.join(others)}" if others else ""
    return f"those with the least {words}{tied}"


def _tied(coupling: Coupling, layer: str, slot: Slot) -> Iterator[str]:
    """Other layers that make the same channels."""
    for other in coupling.slots:
        if other.produces and _layer(other.name) != layer and np.isin(other.classes, slot.classes).any():
            yield _layer(other.name)
