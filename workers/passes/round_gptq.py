"""Rounding column by column, each column's error made up for by those after it (GPTQ)."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from workers.graphs.low_bit import LowBitWeight
from workers.passes.rounding_grid import Rounding, fitted_grid, grouped, low_bit

__all__ = ["round_gptq"]

_DAMPING = 0.01
"""Added to the diagonal of the Hessian, as a share of its mean: with few samples it has no inverse otherwise."""
_BLOCK = 128
"""Columns whose errors reach the rest in one product."""


def round_gptq(
    weight: torch.Tensor, rounding: Rounding, hessian: torch.Tensor, order: Literal["activation", "given"]
) -> LowBitWeight:
    """Rounds a float32 weight whose first dimension is its outputs, for least squared error of the layer's outputs.

    1. Columns are rounded one after the other, in `order`: those with the largest inputs first, or as they stand.
    2. The error of each is spread over the columns that are still to come, by the inverse Hessian's Cholesky factor.
    3. Levels are those of nearest rounding for the group, found beforehand: by activation, a group's columns come
       scattered, and in the given order, levels found from the weights as changed by then did worse.
    4. Weights that are zero stay zero: what was pruned stays pruned.

    Args:
        hessian: mean of x xᵀ over the layer's inputs, of shape (parts, columns, columns): one for each group of a
            grouped convolution, whose outputs come in that many equal parts.

    Frantar et al., 2022: GPTQ, arXiv:2210.17323.
    """
    groups = grouped(weight.flatten(1), rounding)
    count, width = groups.shape[1:]
    padding = count * width - hessian.shape[-1]
    factor, columns = _prepared(functional.pad(hessian, (0, padding, 0, padding)), order)
    work = _Columns(groups, len(hessian), rounding)
    for start in range(0, count * width, _BLOCK):
        work.block(columns[start : start + _BLOCK], columns[start + _BLOCK :], factor, start)
    return low_bit(work.codes, work.grid, rounding, weight.shape)


class _Columns:
    """The weights on their way from floats to codes."""

    def __init__(self, groups: torch.Tensor, parts: int, rounding: Rounding) -> None:
        self.shape, self.parts = groups.shape, parts
        self.weights = groups.reshape(parts, -1, groups.shape[1] * groups.shape[2]).clone()
        self.zero = self.weights == 0
        self.grid = fitted_grid(groups, rounding)
        self._codes = torch.zeros_like(self.weights)

    @property
    def codes(self) -> torch.Tensor:
        """Of shape (rows, groups, group)."""
        return self._codes.reshape(self.shape)

    def block(self, columns: list[int], rest: list[int], factor: torch.Tensor, start: int) -> None:
        """Rounds `columns`, which stand from `start` on in the order of `factor`, and spreads their errors."""
        end = start + len(columns)
        errors = torch.zeros(*self.weights.shape[:2], len(columns))
        for offset, column in enumerate(columns):
            at = start + offset
            values = self.weights[:, :, column]
            error = (values - self._round(column, values)) / factor[:, at, at, None]
            after = columns[offset + 1 :]
            self.weights[:, :, after] -= error[..., None] * factor[:, at, None, at + 1 : end]
            errors[:, :, offset] = error
        if rest:
            self.weights[:, :, rest] -= errors @ factor[:, start:end, end:]

    def _round(self, column: int, values: torch.Tensor) -> torch.Tensor:
        grid = self.grid.column(column // self.shape[2])
        flat = torch.where(self.zero[:, :, column], torch.zeros_like(values), values).flatten()
        codes = grid.encode(flat)
        self._codes[:, :, column] = codes.reshape(values.shape)
        return grid.decode(codes).reshape(values.shape)


def _prepared(hessian: torch.Tensor, order: Literal["activation", "given"]) -> tuple[torch.Tensor, list[int]]:
    """The upper Cholesky factor of the damped inverse, of shape (parts, columns, columns), and the columns' order.

    All parts share one order, by the sum of their inputs' squares. A column that never had an input is on its own.
    """
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    columns = torch.arange(hessian.shape[-1])
    if order == "activation":
        columns = torch.sort(diagonal.sum(0), descending=True, stable=True).indices
    sorted_ = hessian.double()[:, columns][:, :, columns]
    diagonal = sorted_.diagonal(dim1=1, dim2=2)
    level = diagonal.mean(1, keepdim=True)
    dead = diagonal == 0
    base = torch.where(level == 0, torch.ones_like(level), level)
    damping = _DAMPING
    while True:
        added = torch.where(dead, base, damping * base)
        lower, failed = torch.linalg.cholesky_ex(sorted_ + torch.diag_embed(added))
        if not failed.any():
            break
        damping *= 10
    inverse = torch.cholesky_inverse(lower)
    return torch.linalg.cholesky(inverse, upper=True).float(), columns.tolist()
