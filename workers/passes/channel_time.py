"""Choosing channels by the measured time of the layers they are in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from workers.graphs.labels import LabelArray
from workers.passes.channel_pools import Pool
from workers.passes.coupling import Coupling, layer_of, weights
from workers.profile import Profile

__all__ = ["LayerTimes", "cheapest"]


class LayerTimes:
    """The time of each layer as channels go: what was measured, times the share of its weights that is left.

    Nothing is derived from operation counts: a layer that was measured as slow for its size stays slow for its size.
    Layers without weights, such as pooling, are not in a profile; neither is what they would save.
    """

    def __init__(self, coupling: Coupling, profile: Profile) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        for layer in profile.layers:  # one that is called twice is there twice
            self._seconds[layer.name] += layer.seconds
        self._sizes: dict[str, int] = {}
        """Elements of each tensor."""
        self._tensors: dict[str, list[str]] = defaultdict(list)
        """Of each layer."""
        self._lengths: dict[str, list[int]] = defaultdict(list)
        self._left: dict[str, list[int]] = defaultdict(list)
        """Of each tensor: what is left of each dimension with channels."""
        self._places: dict[int, list[tuple[str, int, int]]] = defaultdict(list)
        """Of each class: tensor, number of the dimension, and how often it is there."""
        for name, tensor in weights(coupling):
            if layer_of(name) in self._seconds:
                self._sizes[name] = tensor.numel()
                self._tensors[layer_of(name)].append(name)
                self._add(name, [slot.classes for slot in coupling.slots if slot.name == name])

    def _add(self, name: str, dimensions: Iterable[LabelArray]) -> None:
        for number, classes in enumerate(dimensions):
            self._lengths[name].append(len(classes))
            self._left[name].append(len(classes))
            found, counts = np.unique(classes, return_counts=True)
            for label, count in zip(found.tolist(), counts.tolist(), strict=True):
                self._places[label].append((name, number, count))

    @property
    def measured(self) -> float:
        """Seconds of all layers before anything went."""
        return sum(self._seconds.values())

    def left(self) -> float:
        """Seconds of all layers now."""
        return self.measured - sum(self._seconds[layer] - self._time(layer) for layer in self._tensors)

    def saved_by(self, classes: LabelArray) -> float:
        """Seconds that removing these classes would save now."""
        changes = self._changes(classes)
        layers = {layer_of(name) for name, _ in changes}
        before = sum(self._time(layer) for layer in sorted(layers))
        self._apply(changes, 1)
        after = sum(self._time(layer) for layer in sorted(layers))
        self._apply(changes, -1)
        return before - after

    def remove(self, classes: LabelArray) -> None:
        """Takes the classes out."""
        self._apply(self._changes(classes), 1)

    def _changes(self, classes: LabelArray) -> dict[tuple[str, int], int]:
        changes: dict[tuple[str, int], int] = defaultdict(int)
        for label in classes.tolist():
            for name, number, count in self._places.get(label, ()):
                changes[name, number] += count
        return changes

    def _apply(self, changes: dict[tuple[str, int], int], sign: int) -> None:
        for (name, number), count in changes.items():
            self._left[name][number] -= sign * count

    def _time(self, layer: str) -> float:
        whole = part = 0.0
        for name in self._tensors[layer]:
            share = 1.0
            for left, length in zip(self._left[name], self._lengths[name], strict=True):
                share *= left / length
            whole += self._sizes[name]
            part += self._sizes[name] * share
        return self._seconds[layer] * part / whole


def cheapest(ranked: list[Pool], times: LayerTimes, ratio: float) -> list[LabelArray]:
    """The classes to remove, block by block, until the layers take `ratio` less time than was measured.

    1. The next block of a pool is its least important classes down to the next multiple of its step.
    2. Of all next blocks the one with the least importance lost per second saved goes; the first one if several are
       equal. Blocks that save nothing never go.
    3. At least one step of each pool is left. If that is reached everywhere, less than `ratio` was removed.
    """
    goal = times.measured * (1.0 - ratio)
    taken = [0] * len(ranked)
    removed = []
    while times.left() > goal:
        best: tuple[float, int, int] | None = None
        for number, pool in enumerate(ranked):
            end = _next(pool, taken[number])
            if end is None:
                continue
            saved = times.saved_by(pool.first(taken[number], end))
            lost = float(pool.scores[taken[number] : end].sum()) * len(pool.groups)
            if saved > 0.0 and (best is None or lost / saved < best[0]):
                best = (lost / saved, number, end)
        if best is None:
            break
        _, number, end = best
        block = ranked[number].first(taken[number], end)
        times.remove(block)
        removed.append(block)
        taken[number] = end
    return removed


def _next(pool: Pool, taken: int) -> int | None:
    """How many are gone after the next block; `None` if there is none."""
    left = pool.count - taken
    end = taken + (left % pool.step or pool.step)
    return end if pool.count - end >= pool.step else None
