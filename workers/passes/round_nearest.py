"""Rounding each weight to the nearest level."""

from __future__ import annotations

import torch

from workers.graphs.low_bit import LowBitWeight
from workers.passes.rounding_grid import Rounding, fitted_grid, grouped, low_bit

__all__ = ["round_nearest"]


def round_nearest(weight: torch.Tensor, rounding: Rounding) -> LowBitWeight:
    """Rounds a float32 weight whose first dimension is its outputs.

    The levels of each group clip its extremes where that makes the squared error of the weights smaller.
    """
    groups = grouped(weight.flatten(1), rounding)
    grid = fitted_grid(groups, rounding)
    return low_bit(grid.encode(groups), grid, rounding, weight.shape)
