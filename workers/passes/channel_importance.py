"""How much each coupled channel matters, as one number per class."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from workers.passes.coupling import Coupling, Group, weights

__all__ = ["Scores", "importance"]

Scores = list[NDArray[np.float64]]
"""For each group of the coupling, one number per class with mean 1; empty where the measure does not apply."""


def importance(coupling: Coupling, kind: Literal["magnitude", "bn_scale"]) -> Scores:
    """Scores all groups.

    `magnitude`: the squared L2 norm of the weights that a class owns, in each tensor relative to the mean of the group
    there, so that large tensors don't drown small ones (after Li et al. 2017, arXiv:1608.08710).
    `bn_scale`: the squared scale of the batch norms a class passes, likewise (Liu et al. 2017, arXiv:1708.06519).
    """
    norms = [
        (slot.classes, norms)
        for name, tensor in weights(coupling)
        for slot in coupling.slots
        if slot.name == name and (kind == "magnitude" or slot.scales)
        for norms in [_squared_norms(tensor, slot.dim)]
    ]
    return [_score(group, norms) for group in coupling.groups]


def _squared_norms(tensor: torch.Tensor, dim: int) -> NDArray[np.float64]:
    others = [other for other in range(tensor.dim()) if other != dim]
    squares = tensor.detach().double().square()
    return np.asarray((squares.sum(others) if others else squares).numpy(), dtype=np.float64)


def _score(group: Group, norms: list[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> NDArray[np.float64]:
    total = np.zeros(len(group.classes))
    found = 0
    for classes, values in norms:
        inside = np.isin(classes, group.classes)
        if not inside.any():
            continue
        owned = np.bincount(
            np.searchsorted(group.classes, classes[inside]), values[inside], minlength=len(group.classes)
        )
        found += 1
        if owned.mean() > 0:
            total += owned / owned.mean()
    return total / found if found else np.zeros(0)
