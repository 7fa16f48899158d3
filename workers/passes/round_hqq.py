"""Half-quadratic rounding: scales and zero points fitted to the weights, without data."""

from __future__ import annotations

from dataclasses import replace

import torch

from workers.graphs.low_bit import LowBitWeight
from workers.passes.rounding_grid import Grid, Rounding, fitted_grid, grouped, low_bit

__all__ = ["round_hqq"]

_NORM = 0.7
_SHRINKING = 10.0
_GROWTH = 1.01
_ROUNDS = 20
_TINY = 1e-12


def round_hqq(weight: torch.Tensor, rounding: Rounding) -> LowBitWeight:
    """Rounds a float32 weight whose first dimension is its outputs.

    In turn, for `_ROUNDS` rounds:

    1. codes are the nearest of the present levels;
    2. what the codes miss is shrunk by the proximal step of the l_p norm, p = 0.7: errors of the many are dropped,
       those of the few outliers stay, so that the levels need not bend for them;
    3. scales and zero points are fitted to the weights without what stayed. Zero points are whole codes here, and
       symmetric groups fit their scale alone, so that zero stays zero.

    It starts from the levels of nearest rounding, and each group keeps its round of least squared error: it is never
    worse than nearest rounding, and seldom far better, since that one searches its clipping already.

    Badri and Shaji, 2023: Half-Quadratic Quantization of Large Machine Learning Models.
    """
    groups = grouped(weight.flatten(1), rounding)
    grid = best = fitted_grid(groups, rounding)
    least = _error(groups, best)
    strength = _SHRINKING
    for _ in range(_ROUNDS):
        codes = grid.encode(groups)
        kept = _shrunk(groups - grid.decode(codes), grid.scales.abs()[..., None], strength)
        grid = _fitted(grid, codes, groups - kept)
        error = _error(groups, grid)
        better, least = error < least, torch.minimum(error, least)
        best = _chosen(better, grid, best)
        strength *= _GROWTH
    return low_bit(best.encode(groups), best, rounding, weight.shape)


def _shrunk(error: torch.Tensor, step: torch.Tensor, strength: float) -> torch.Tensor:
    """Step 2. Errors are taken in steps of their grid, so that the result does not depend on the weights' size."""
    size = (error / step).abs()
    left = size - size.clamp(min=_TINY).pow(_NORM - 1) / strength
    return error.sign() * left.clamp(min=0.0) * step


def _fitted(grid: Grid, codes: torch.Tensor, wanted: torch.Tensor) -> Grid:
    """Step 3: least squares for each group."""
    if grid.zeros is None:
        return replace(grid, scales=_slope(codes, wanted, grid.scales))
    center, target = codes.mean(2, keepdim=True), wanted.mean(2, keepdim=True)
    slope = _slope(codes - center, wanted - target, grid.scales)
    zeros = (center[..., 0] - target[..., 0] / slope).round().clamp(grid.least, grid.most)
    return replace(grid, scales=_slope(codes - zeros[..., None], wanted, slope), zeros=zeros)


def _slope(codes: torch.Tensor, wanted: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
    found = (codes * wanted).sum(2) / codes.square().sum(2).clamp(min=_TINY)
    return torch.where(found.abs() < torch.finfo(torch.float32).tiny, otherwise, found)


def _chosen(better: torch.Tensor, one: Grid, other: Grid) -> Grid:
    zeros = None
    if one.zeros is not None and other.zeros is not None:
        zeros = torch.where(better, one.zeros, other.zeros)
    return replace(other, scales=torch.where(better, one.scales, other.scales), zeros=zeros)


def _error(groups: torch.Tensor, grid: Grid) -> torch.Tensor:
    return (grid.decode(grid.encode(groups)) - groups).square().sum(2)
