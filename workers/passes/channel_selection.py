"""Which coupled channels go, given how much each matters."""

from __future__ import annotations

import math

import numpy as np

from burnish.passes import Prune
from workers.graphs.labels import LabelArray
from workers.passes.channel_importance import Scores
from workers.passes.coupling import Coupling, Group

__all__ = ["least_important", "selectable", "step"]


def step(group: Group, round_to: int) -> int:
    """The step in which the group's classes are kept, so that channel counts are multiples of `round_to`."""
    return round_to // math.gcd(round_to, group.width)


def selectable(coupling: Coupling, scores: Scores) -> list[int]:
    """The groups that can be ranked, by number."""
    return [number for number in range(len(coupling.groups)) if len(scores[number])]


def least_important(coupling: Coupling, scores: Scores, settings: Prune) -> LabelArray:
    """The classes to remove, sorted.

    1. `layer` asks for the share `ratio` of each group; `global` takes the lowest scores over all groups together.
    2. What is left of a group is rounded to the nearest multiple of `round_to` channels, at least one multiple; a
       group with no more than that is left alone.
    3. No dimension in the graph loses all its channels: the most important one of it is put back.
    """
    numbers = selectable(coupling, scores)
    removed: list[int] = []
    for number, share in zip(numbers, _shares(numbers, scores, settings), strict=True):
        group = coupling.groups[number]
        kept = _rounded(len(group.classes), share, step(group, settings.round_to))
        order = np.argsort(scores[number], kind="stable")
        removed.extend(group.classes[order[: len(order) - kept]].tolist())
    return _spared(coupling, scores, np.array(sorted(removed), dtype=np.int64))


def _shares(numbers: list[int], scores: Scores, settings: Prune) -> list[float]:
    """The share of each group to remove, before rounding."""
    if settings.scope == "layer" or not numbers:
        return [settings.ratio] * len(numbers)
    together = np.sort(np.concatenate([scores[number] for number in numbers]))
    count = min(round(settings.ratio * len(together)), len(together) - 1)
    return [float((scores[number] < together[count]).mean()) for number in numbers]


def _rounded(count: int, share: float, step: int) -> int:
    """How many of `count` to keep."""
    if count <= step:
        return count
    # Half a step rounds up: to keep too many costs time, to keep too few costs quality.
    nearest = step * math.floor(count * (1 - share) / step + 0.5)
    return min(max(nearest, step), count)


def _spared(coupling: Coupling, scores: Scores, removed: LabelArray) -> LabelArray:
    score = {
        label: value
        for group, values in zip(coupling.groups, scores, strict=True)
        for label, value in zip(group.classes.tolist(), values.tolist(), strict=False)
    }
    for axis in coupling.axes():
        classes = np.unique(axis)
        if len(removed) and np.isin(classes, removed).all():
            removed = removed[removed != max(classes.tolist(), key=lambda label: score[label])]
    return removed
