"""What pruning did to the channels of each layer, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from burnish.passes import Prune
from burnish.results import LayerTreatment
from workers.graphs.labels import LabelArray
from workers.passes.channel_importance import Scores
from workers.passes.channel_pools import ratio_of
from workers.passes.coupling import Coupling, Slot, layer_of, weights
from workers.profile import Profile

__all__ = ["ChannelReport"]

_WORDS = {
    "magnitude": "the least squared weights",
    "bn_scale": "the least batch-norm scales",
    "taylor": "the least effect on the loss",
}


@dataclass(frozen=True)
class ChannelReport:
    """All that decides what is said of a layer."""

    coupling: Coupling
    scores: Scores
    removed: LabelArray
    settings: Prune
    profile: Profile | None

    def treatments(self) -> tuple[LayerTreatment, ...]:
        """One entry per layer with a weight matrix or kernel, in the order of the graph."""
        made: dict[str, LayerTreatment] = {}
        for name, tensor in weights(self.coupling):
            layer = layer_of(name)
            if tensor.dim() > 1 and layer not in made:
                made[layer] = self._treatment(layer)
        return tuple(made.values())

    def _treatment(self, layer: str) -> LayerTreatment:
        tensors = {name: tensor for name, tensor in weights(self.coupling) if layer_of(name) == layer}
        slots = [slot for slot in self.coupling.slots if slot.name in tensors and tensors[slot.name].dim() > 1]
        bytes_of = {name: tensor.numel() * tensor.element_size() for name, tensor in tensors.items()}
        treatment, reason = self._words(layer, slots)
        measured = self.profile.of(layer) if self.profile is not None else None
        return LayerTreatment(
            layer=layer,
            treatment=treatment,
            reason=reason,
            seconds=None if measured is None else measured.seconds,
            bytes_before=sum(bytes_of.values()),
            bytes_after=round(sum(size * self.share_left(name) for name, size in bytes_of.items())),
        )

    def share_left(self, name: str) -> float:
        """How much of a tensor is left."""
        kept = [self._kept(slot) / len(slot.classes) for slot in self.coupling.slots if slot.name == name]
        return float(np.prod(kept))

    def _kept(self, slot: Slot) -> int:
        return int(np.isin(slot.classes, self.removed, invert=True).sum())

    def _words(self, layer: str, slots: list[Slot]) -> tuple[str, str]:
        changes = dict.fromkeys(
            f"{'channels' if slot.produces else 'inputs'} {len(slot.classes)} → {self._kept(slot)}"
            for slot in slots
            if self._kept(slot) < len(slot.classes)
        )
        # What is said of a layer is said of the channels it makes; a bare weight makes none, but may lose some.
        ranked = sorted(slots, key=lambda slot: (not slot.produces, self._kept(slot) == len(slot.classes)))
        main = ranked[0] if ranked else None
        if main is None:
            return "left alone", "it has a single channel"
        if not changes:
            return "left alone", self._why_left(layer, main)
        if np.isin(main.classes, self.removed).any():
            return ", ".join(changes), self._why_cut(layer, main)
        return ", ".join(changes), f"its own channels stay: {self._why_left(layer, main)}"

    def _why_left(self, layer: str, slot: Slot) -> str:
        frozen = self.coupling.reason(slot.classes)
        if frozen is not None:
            return frozen
        for group, values in zip(self.coupling.groups, self.scores, strict=True):
            if np.isin(slot.classes, group.classes).any():
                if not len(values):
                    return "no batch norm scales its channels, which importance bn_scale needs"
                return self._why_spared(layer, slot, len(group.classes))
        return "it has a single channel that could go"

    def _why_spared(self, layer: str, slot: Slot, count: int) -> str:
        settings = self.settings
        named = ratio_of([layer], settings)
        if named == 0.0:
            return "`layers` gives it the ratio 0"
        if settings.scope == "layer" or named is not None or count <= settings.round_to:
            ratio = settings.ratio if named is None else named
            return (
                f"removing {ratio:g} of its {len(slot.classes)} channels "
                f"leaves all of them once rounded to multiples of {settings.round_to}"
            )
        if settings.scope == "time":
            return "its channels save less time for what they matter than those of other layers"
        return "its channels matter more than those of other layers"

    def _why_cut(self, layer: str, slot: Slot) -> str:
        others = list(dict.fromkeys(self._tied(layer, slot)))
        for_time = ", for the time measured" if self.settings.scope == "time" else ""
        tied = f"; together with {', '.join(others)}" if others else ""
        return f"those with {_WORDS[self.settings.importance]}{for_time}{tied}"

    def _tied(self, layer: str, slot: Slot) -> Iterator[str]:
        """Other layers that make the same channels."""
        for other in self.coupling.slots:
            if other.produces and layer_of(other.name) != layer and np.isin(other.classes, slot.classes).any():
                yield layer_of(other.name)
