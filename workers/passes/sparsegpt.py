"""One-shot pruning of a weight matrix that makes up for what it removes (SparseGPT)."""

from __future__ import annotations

import torch

__all__ = ["two_smallest_of_four", "without"]

BLOCK = 128
"""Columns that are decided together; the later ones are mended once for all of them."""
DAMPING = 0.01
"""Added to the diagonal of the Hessian, relative to its mean: keeps the inverse finite where inputs are dependent."""


def without(weight: torch.Tensor, hessian: torch.Tensor, ratio: float | None) -> torch.Tensor:
    """The weight with zeros, and the other weights changed so that the outputs stay as close as they can.

    Frantar and Alistarh 2023 (arXiv:2301.00774), algorithm 1:

    1. Columns are decided from left to right, in blocks. An element's loss is w² / d², with d the diagonal of the upper
       Cholesky factor of the inverse Hessian: what is lost if it goes and all columns to its right make up for it.
    2. In each block the share `ratio` with the least loss goes; without a ratio, two of each four neighbours.
    3. The error of a removed element is spread over the columns to its right by the factor's row.

    Args:
        weight: of shape (groups, rows, columns). Rows of one group read the same inputs.
        hessian: sum of x xᵀ over the inputs, of shape (groups, columns, columns).
        ratio: share of zeros; `None` for two of four, where the columns are a multiple of four.

    Returns:
        a new tensor of the weight's shape and dtype.
    """
    left, factor = weight.double().clone(), _factor(hessian.double())
    columns = left.shape[-1]
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        errors = _decide(left[..., start:end], factor[..., start:end, start:end], ratio)
        left[..., end:] -= errors @ factor[..., start:end, end:]
    return left.to(weight.dtype)


def _factor(hessian: torch.Tensor) -> torch.Tensor:
    """Upper Cholesky factor of the inverse. Inputs that were always zero have the damping alone, so they go early."""
    diagonal = torch.diagonal(hessian, dim1=-2, dim2=-1)
    damping = DAMPING * diagonal.mean(-1, keepdim=True).clamp_min(1e-12)
    damped = hessian + torch.diag_embed(damping.expand_as(diagonal))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    lower: torch.Tensor = torch.linalg.cholesky(inverse)
    return lower.mT


def _decide(block: torch.Tensor, factor: torch.Tensor, ratio: float | None) -> torch.Tensor:
    """Prunes the columns of `block` in place. Returns the errors to spread, of its shape."""
    scale = torch.diagonal(factor, dim1=-2, dim2=-1).unsqueeze(-2)
    gone = torch.zeros_like(block, dtype=torch.bool) if ratio is None else _least((block / scale).square(), ratio)
    errors = torch.zeros_like(block)
    for column in range(block.shape[-1]):
        if ratio is None and column % 4 == 0:
            four = slice(column, column + 4)
            gone[..., four] = two_smallest_of_four((block[..., four] / scale[..., four]).square())
        errors[..., column] = torch.where(gone[..., column], block[..., column], 0.0) / scale[..., column]
        block[..., column:] -= errors[..., column, None] * factor[..., column, None, column:]
        block[..., column].masked_fill_(gone[..., column], 0.0)
    return errors


def _least(scores: torch.Tensor, ratio: float) -> torch.Tensor:
    flat = torch.zeros(scores.numel(), dtype=torch.bool)
    flat[torch.argsort(scores.reshape(-1), stable=True)[: round(ratio * scores.numel())]] = True
    return flat.reshape(scores.shape)


def two_smallest_of_four(scores: torch.Tensor) -> torch.Tensor:
    """True for the two smallest of each four neighbours along the last dimension; of equals the first."""
    fours = scores.reshape(*scores.shape[:-1], -1, 4)
    order = torch.argsort(fours, dim=-1, stable=True)
    return torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, order[..., :2], True).reshape(scores.shape)
