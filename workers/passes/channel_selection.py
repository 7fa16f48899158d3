"""Which coupled channels go, given how much each matters."""

from __future__ import annotations

import numpy as np

from burnish.passes import Prune
from workers.graphs.labels import LabelArray
from workers.passes.channel_importance import Scores
from workers.passes.channel_pools import Pool, pools, rounded
from workers.passes.channel_time import LayerTimes, cheapest
from workers.passes.coupling import Coupling

__all__ = ["least_important"]


def least_important(coupling: Coupling, scores: Scores, settings: Prune, times: LayerTimes | None) -> LabelArray:
    """The classes to remove, sorted.

    1. `layer` asks for the share `ratio` of each group; `global` takes the lowest scores over all groups together;
       `time` takes those that lose the least importance per second saved (`workers.passes.channel_time`).
    2. Layers that `layers` names get the ratio given there, and are left out of what rule 1 ranks.
    3. What is left of a group is rounded to the nearest multiple of `round_to` channels, at least one multiple; a
       group with no more than that is left alone.
    4. No dimension in the graph loses all its channels: the most important one of it is put back.

    Args:
        times: measured times of the layers, for scope `time`.
    """
    every = pools(coupling, scores, settings)
    named = [pool for pool in every if pool.ratio is not None]
    ranked = [pool for pool in every if pool.ratio is None]
    gone = [pool.first(0, pool.count - rounded(pool.count, pool.ratio or 0.0, pool.step)) for pool in named]
    if times is not None:
        for classes in gone:
            times.remove(classes)
        gone.extend(cheapest(ranked, times, settings.ratio))
    else:
        for pool, share in zip(ranked, _shares(ranked, settings), strict=True):
            gone.append(pool.first(0, pool.count - rounded(pool.count, share, pool.step)))
    removed = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *gone]))
    return _spared(coupling, every, removed)


def _shares(ranked: list[Pool], settings: Prune) -> list[float]:
    """The share of each group to remove, before rounding."""
    if settings.scope == "layer" or not ranked:
        return [settings.ratio] * len(ranked)
    together = np.sort(np.concatenate([np.tile(pool.scores, len(pool.groups)) for pool in ranked]))
    count = min(round(settings.ratio * len(together)), len(together) - 1)
    return [float((pool.scores < together[count]).mean()) for pool in ranked]


def _spared(coupling: Coupling, every: list[Pool], removed: LabelArray) -> LabelArray:
    """Puts classes back, with their peers in groups that keep the same number, until no dimension is empty."""
    places = {
        label: (pool, place) for pool in every for order in pool.order for place, label in enumerate(order.tolist())
    }
    for axis in coupling.axes():
        classes = np.unique(axis)
        if len(removed) and np.isin(classes, removed).all():
            best = max(classes.tolist(), key=lambda label: float(places[label][0].scores[places[label][1]]))
            pool, place = places[best]
            back = pool.first(place, place + 1)
            removed = removed[np.isin(removed, back, invert=True)]
    return removed
