"""Groups of channels that are counted together: what the selection works on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from burnish.passes import Prune
from workers.graphs.labels import LabelArray
from workers.passes.channel_importance import Scores
from workers.passes.coupling import Coupling, Group, layer_of

__all__ = ["Pool", "pools", "ratio_of", "rounded"]


@dataclass(frozen=True)
class Pool:
    """One group, or several of the same size that must keep the same number (the layers of a stacked LSTM)."""

    groups: tuple[Group, ...]
    order: tuple[LabelArray, ...]
    """For each group its classes, least important first."""
    scores: NDArray[np.float64]
    """The mean score of the groups' first, second, … class."""
    step: int
    """The number kept is a multiple of this."""
    ratio: float | None
    """The ratio that the settings give its layers by name; `None`: they name none of them."""

    @property
    def count(self) -> int:
        """Classes of one group."""
        return len(self.scores)

    def first(self, start: int, end: int) -> LabelArray:
        """The classes from place `start` to `end` in the order in which they go, of all groups."""
        return np.concatenate([order[start:end] for order in self.order])


def pools(coupling: Coupling, scores: Scores, settings: Prune) -> list[Pool]:
    """All groups that can be ranked, in the order of the graph."""
    tied = {number: numbers for numbers in coupling.level for number in numbers}
    made = []
    for number in range(len(coupling.groups)):
        numbers = tied.get(number, (number,))
        if number == numbers[0] and all(len(scores[each]) for each in numbers):
            made.append(_pool(coupling, numbers, scores, settings))
    return made


def _pool(coupling: Coupling, numbers: tuple[int, ...], scores: Scores, settings: Prune) -> Pool:
    groups = tuple(coupling.groups[number] for number in numbers)
    orders = [np.argsort(scores[number], kind="stable") for number in numbers]
    sorted_scores = [scores[number][order] for number, order in zip(numbers, orders, strict=True)]
    return Pool(
        groups,
        tuple(group.classes[order] for group, order in zip(groups, orders, strict=True)),
        np.mean(sorted_scores, axis=0, dtype=np.float64),
        math.lcm(*(settings.round_to // math.gcd(settings.round_to, group.width) for group in groups)),
        ratio_of(list(_makers(coupling, groups)), settings),
    )


def ratio_of(layers: list[str], settings: Prune) -> float | None:
    """The smallest ratio that the settings give one of these layers by name."""
    found = [
        ratio for pattern, ratio in settings.layers.items() if any(fnmatchcase(layer, pattern) for layer in layers)
    ]
    return min(found, default=None)


def _makers(coupling: Coupling, groups: tuple[Group, ...]) -> Iterator[str]:
    for slot in coupling.slots:
        if slot.produces and any(np.isin(slot.classes, group.classes).any() for group in groups):
            yield layer_of(slot.name)


def rounded(count: int, share: float, step: int) -> int:
    """How many of `count` to keep, if `share` of them should go: the nearest multiple of `step`, at least one."""
    if count <= step or share <= 0.0:
        return count
    # Half a step rounds up: to keep too many costs time, to keep too few costs quality.
    nearest = step * math.floor(count * (1 - share) / step + 0.5)
    return min(max(nearest, step), count)
