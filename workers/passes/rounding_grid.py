"""The levels that a row of weights is rounded to: a scale, and perhaps a zero point, for each group of neighbours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch.nn import functional

from workers.graphs.low_bit import LowBitWeight

__all__ = ["Grid", "Rounding", "fitted_grid", "grouped", "low_bit"]

_CANDIDATES = 32
_LEAST_RATIO = 0.2
"""The search ends where four fifths of a group's range are cut off: less never helped, at 2 bits in rows of 4096."""
_CHUNK = 2**22
"""Weights looked at together: the search's memory is some ten times their size."""


@dataclass(frozen=True)
class Rounding:
    """How a weight is to be rounded."""

    bits: int
    group: int | None
    """Neighbours that share a scale; `None`: the whole row."""
    symmetric: bool = True
    narrow: bool = False
    """8-bit codes stay within -63 … 63, for machines whose int8 kernels saturate (`workers/isa.py`)."""

    @property
    def least(self) -> int:
        """Least code. At 8 bits, symmetric codes leave out -128, which kernels for signed integers can't negate."""
        return -self.most if self.bits == 8 and self.symmetric else -(2 ** (self.bits - 1))

    @property
    def most(self) -> int:
        """Greatest code."""
        return 63 if self.narrow and self.bits == 8 and self.symmetric else 2 ** (self.bits - 1) - 1

    def group_for(self, columns: int) -> int:
        """Columns per scale in rows of `columns`: no more than fill the row, so that little padding is stored."""
        if self.group is None:
            return max(2, columns)
        return min(self.group, max(16, 1 << (columns - 1).bit_length()))


@dataclass(frozen=True)
class Grid:
    """Levels `(code - zero) * scale`, with `least` ≤ code ≤ `most`, for every group of every row."""

    scales: torch.Tensor
    """float32 of shape (rows, groups). Negative where the extreme of a symmetric group is positive: it takes the code
    that has no counterpart."""
    zeros: torch.Tensor | None
    """Whole numbers as float32, of the same shape, within the codes; `None`: all zero."""
    least: int
    most: int

    def encode(self, values: torch.Tensor) -> torch.Tensor:
        """Codes, as float32, of `values` with shape (rows, groups, …): the nearest levels. Zero becomes zero."""
        return (values / self._wide(self.scales, values) + self._offset(values)).round().clamp(self.least, self.most)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """The levels of `codes`, of shape (rows, groups, …)."""
        return (codes - self._offset(codes)) * self._wide(self.scales, codes)

    def column(self, index: int) -> Grid:
        """The grid of one group of all rows, for values of shape (rows, …)."""
        zeros = None if self.zeros is None else self.zeros[:, index]
        return replace(self, scales=self.scales[:, index], zeros=zeros)

    def _offset(self, like: torch.Tensor) -> torch.Tensor | float:
        return 0.0 if self.zeros is None else self._wide(self.zeros, like)

    @staticmethod
    def _wide(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return values.reshape(values.shape + (1,) * (like.dim() - values.dim()))


def grouped(rows: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """Rows (outputs, columns) as (outputs, groups, group); zeros fill the last group."""
    columns = rows.shape[1]
    group = rounding.group_for(columns)
    return functional.pad(rows, (0, -columns % group)).reshape(len(rows), -1, group)


def fitted_grid(groups: torch.Tensor, rounding: Rounding) -> Grid:
    """The grid of least squared error for `groups` of shape (rows, groups, group), by a search over clippings."""
    parts = groups.split(max(1, _CHUNK // max(1, groups[0].numel())))
    search = _symmetric if rounding.symmetric else _with_zeros
    grids = [search(part, rounding) for part in parts]
    zeros = None if rounding.symmetric else torch.cat([grid.zeros for grid in grids if grid.zeros is not None])
    return replace(grids[0], scales=torch.cat([grid.scales for grid in grids]), zeros=zeros)


def low_bit(codes: torch.Tensor, grid: Grid, rounding: Rounding, shape: torch.Size) -> LowBitWeight:
    """Codes of shape (rows, groups, group) as the low-bit form of a weight of `shape`."""
    return LowBitWeight(
        codes=codes.flatten(1).to(torch.int8),
        scales=grid.scales.to(torch.float32),
        zeros=None if grid.zeros is None else grid.zeros.to(torch.int32),
        bits=rounding.bits,
        group=int(codes.shape[2]),
        shape=tuple(shape),
    )


def _symmetric(groups: torch.Tensor, rounding: Rounding) -> Grid:
    """Scales that bring the extreme to the outermost codes or beyond, with the extreme on either side."""
    extreme = groups.abs().amax(2)
    least, most = rounding.least, rounding.most
    ratios = torch.linspace(-least / most, _LEAST_RATIO, _CANDIDATES).tolist()
    signs = (1.0,) if least == -most else (1.0, -1.0)
    candidates = [sign * ratio * extreme / -least for ratio in ratios for sign in signs]
    return _best(groups, [Grid(_nonzero(scales), None, least, most) for scales in candidates])


def _with_zeros(groups: torch.Tensor, rounding: Rounding) -> Grid:
    """Ranges shrunk towards zero, which they always contain, so that zero stays exact."""
    low, high = groups.amin(2).clamp(max=0.0), groups.amax(2).clamp(min=0.0)
    least, most = rounding.least, rounding.most
    candidates = []
    for ratio in torch.linspace(1.0, _LEAST_RATIO, _CANDIDATES).tolist():
        scales = _nonzero(ratio * (high - low) / (most - least))
        zeros = (least - ratio * low / scales).round().clamp(least, most)
        candidates.append(Grid(scales, zeros, least, most))
    return _best(groups, candidates)


def _nonzero(scales: torch.Tensor) -> torch.Tensor:
    """A group of zeros gets the scale 1."""
    return torch.where(scales.abs() < torch.finfo(torch.float32).tiny, torch.ones_like(scales), scales)


def _best(groups: torch.Tensor, candidates: list[Grid]) -> Grid:
    """For each group the candidate of least squared error, the first of equals."""
    best = candidates[0]
    error = _error(groups, best)
    for candidate in candidates[1:]:
        found = _error(groups, candidate)
        better = found < error
        error = torch.where(better, found, error)
        zeros = best.zeros
        if zeros is not None and candidate.zeros is not None:
            zeros = torch.where(better, candidate.zeros, zeros)
        best = replace(best, scales=torch.where(better, candidate.scales, best.scales), zeros=zeros)
    return best


def _error(groups: torch.Tensor, grid: Grid) -> torch.Tensor:
    return (grid.decode(grid.encode(groups)) - groups).square().sum(2)
