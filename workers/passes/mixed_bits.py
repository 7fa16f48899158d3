"""Bits for each layer, by what fewer of them cost the outputs and save in bytes and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from burnish.passes import Quantize
from burnish.passes.quantize import BITS
from workers.profile import LayerProfile, Profile

__all__ = ["Choice", "Weighed", "choose_bits"]

_KINDS = ("int8", "int4", "int2")
"""From many bits to few."""


@dataclass(frozen=True)
class Weighed:
    """A layer that bits are chosen for."""

    name: str
    parameters: int


@dataclass(frozen=True)
class Choice:
    """What was chosen for a layer, and why."""

    kind: str
    reason: str
    seconds: float | None
    """Measured time of the layer."""


def choose_bits(layers: Sequence[Weighed], profile: Profile, settings: Quantize) -> dict[str, Choice]:
    """Chooses 8, 4 or 2 bits for each layer, deterministically.

    1. The noise that layers add at the outputs, as the profile measured it for each alone, adds up.
    2. All layers start with 8 bits. Again and again the one step down is taken that saves most for the noise it adds,
       over all layers and widths: saved bits, weighted by half the layer's share of the weights and half its share of
       the time, since few-bit layers gain in both.
    3. With `average_bits`, until the mean over all weights is no more than that. With `least_db`, as long as the summed
       noise stays below what the ratio allows; a step too far is passed over for smaller ones.
    4. Then the noisiest layers get bits back, as far as the budget has room.

    A layer that the profile doesn't know keeps 8 bits.
    """
    known = [layer for layer in layers if _complete(profile.of(layer.name))]
    search = _Search(known, layers, profile, settings)
    search.lower()
    search.raise_again()
    return {layer.name: _choice(layer, search, profile) for layer in layers}


class _Search:
    def __init__(
        self, known: Sequence[Weighed], layers: Sequence[Weighed], profile: Profile, settings: Quantize
    ) -> None:
        self.layers, self.settings = known, settings
        self.chosen = {layer.name: "int8" for layer in known}
        self.noise = {layer.name: _noise(_known(profile, layer.name)) for layer in known}
        self.total = sum(layer.parameters for layer in layers)
        self.bits = 8 * self.total
        seconds = sum(_known(profile, layer.name).seconds for layer in known)
        self.share = {
            layer.name: layer.parameters / max(1, self.total)
            + (_known(profile, layer.name).seconds / seconds if seconds else 0.0)
            for layer in known
        }

    def lower(self) -> None:
        """Rules 2 and 3."""
        while not self._enough() and (steps := list(self._steps())):
            _, _, name, kind = max(steps, key=lambda step: (step[0], -step[1]))
            self._take(name, kind)

    def raise_again(self) -> None:
        """Rule 4."""
        if self.settings.average_bits is None:
            return
        sizes = {layer.name: layer.parameters for layer in self.layers}
        for name in sorted(self.chosen, key=lambda each: (-self.noise[each][self.chosen[each]], each)):
            for kind in _KINDS[: _KINDS.index(self.chosen[name])]:
                more = (BITS[kind] - BITS[self.chosen[name]]) * sizes[name]
                if self.bits + more <= self.settings.average_bits * self.total:
                    self._take(name, kind)
                    break

    def average(self) -> float:
        """Bits per weight."""
        return self.bits / max(1, self.total)

    def _enough(self) -> bool:
        return self.settings.average_bits is not None and self.average() <= self.settings.average_bits

    def _steps(self) -> list[tuple[float, int, str, str]]:
        """Every step down: what it saves per noise added, the layer's place (for ties), its name and the new kind."""
        allowed = None if self.settings.least_db is None else 10 ** (-self.settings.least_db / 10)
        present = sum(self.noise[name][kind] for name, kind in self.chosen.items())
        found = []
        for place, layer in enumerate(self.layers):
            now = self.chosen[layer.name]
            for kind in _KINDS[_KINDS.index(now) + 1 :]:
                added = self.noise[layer.name][kind] - self.noise[layer.name][now]
                if allowed is None or present + added <= allowed:
                    saved = (BITS[now] - BITS[kind]) * self.share[layer.name]
                    found.append((saved / max(added, 1e-12), place, layer.name, kind))
        return found

    def _take(self, name: str, kind: str) -> None:
        size = next(layer.parameters for layer in self.layers if layer.name == name)
        self.bits += (BITS[kind] - BITS[self.chosen[name]]) * size
        self.chosen[name] = kind


def _complete(found: LayerProfile | None) -> bool:
    return found is not None and all(kind in found.errors for kind in _KINDS)


def _known(profile: Profile, name: str) -> LayerProfile:
    found = profile.of(name)
    assert found is not None
    return found


def _noise(layer: LayerProfile) -> Mapping[str, float]:
    """Power of the noise at the outputs, relative to the signal, by kind."""
    return {kind: 10 ** (-layer.errors[kind] / 10) for kind in _KINDS}


def _choice(layer: Weighed, search: _Search, profile: Profile) -> Choice:
    kind = search.chosen.get(layer.name)
    if kind is None:
        return Choice("int8", "8 bits, since the profile has no measurement of it", None)
    found = _known(profile, layer.name)
    settings = search.settings
    budget = (
        f"an average of {settings.average_bits:g} bits" if settings.least_db is None else f"{settings.least_db:g} dB"
    )
    errors = ", ".join(f"{BITS[each]} bits {found.errors[each]:.1f} dB" for each in _KINDS)
    share = layer.parameters / max(1, search.total)
    reason = (
        f"{BITS[kind]} bits within {budget}: alone at the outputs {errors}; {share:.1%} of the weights, "
        f"{found.seconds * 1000:.3g} ms"
    )
    return Choice(kind, reason, found.seconds)
