"""Union-find over channel labels, with frozen classes that remember why."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FIXED", "LabelArray", "Labels"]

LabelArray = NDArray[np.int64]
FIXED = 0
"""The label of everything that is no channel (batch, pixels, tokens): it is never tied to another label."""


class Labels:
    """The labels of one graph. Tied labels stay or go together; a frozen one stays, and so do all tied to it."""

    def __init__(self) -> None:
        self._parent: LabelArray = np.zeros(1, dtype=np.int64)
        self._reasons: dict[int, str] = {FIXED: "no channel"}
        self._frozen: NDArray[np.bool_] = np.ones(1, dtype=np.bool_)
        """True for the roots that have a reason."""

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int) -> LabelArray:
        """`count` new labels, each a class of its own."""
        start = len(self._parent)
        made = np.arange(start, start + count, dtype=np.int64)
        self._parent = np.concatenate([self._parent, made])
        self._frozen = np.concatenate([self._frozen, np.zeros(count, dtype=np.bool_)])
        return made

    def roots(self, labels: LabelArray) -> LabelArray:
        """The class of each label, as the label that stands for it."""
        found = self._parent[labels]
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                return found
            found = above

    def tie(self, first: LabelArray, second: LabelArray, why_fixed: str) -> None:
        """Makes each pair one class. Where one of the two is `FIXED`, the other is frozen, with `why_fixed`."""
        pairs = np.stack([self.roots(first), self.roots(second)], axis=1)
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        if not len(pairs):
            return
        pairs = np.unique(pairs, axis=0)
        fixed = (pairs == FIXED).any(axis=1)
        self.freeze(pairs[fixed].max(axis=1, initial=FIXED), why_fixed)
        for one, other in pairs[~fixed].tolist():
            self._unite(one, other)

    def freeze(self, labels: LabelArray, reason: str) -> None:
        """Keeps the classes of `labels` for good. The first reason given for a class is the one that stays."""
        roots = self.roots(labels)
        fresh = np.unique(roots[~self._frozen[roots]])
        self._frozen[fresh] = True
        self._reasons.update(dict.fromkeys(fresh.tolist(), reason))

    def reason(self, label: int) -> str | None:
        """Why the label's class is frozen; `None` if it is free."""
        return self._reasons.get(self._root(label))

    def free(self, labels: LabelArray) -> NDArray[np.bool_]:
        """True for each label whose class is not frozen."""
        free: NDArray[np.bool_] = ~self._frozen[self.roots(labels)]
        return free

    def _root(self, label: int) -> int:
        while self._parent[label] != label:
            label = int(self._parent[label])
        return label

    def _unite(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        if low == high:
            return
        self._parent[high] = low
        reason = self._reasons.pop(high, None)
        if reason is not None:
            self._reasons.setdefault(low, reason)
            self._frozen[low] = True
