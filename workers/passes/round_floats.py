"""Rounding weights to few-bit floats: fp8 and nf4."""

from __future__ import annotations

import torch

from workers.graphs.low_bit_floats import FP8_MOST, Fp8Weight, Nf4Weight, nearest_fp8, nearest_nf4
from workers.passes.rounding_grid import Rounding, grouped

__all__ = ["round_fp8", "round_nf4"]


def round_fp8(weight: torch.Tensor) -> Fp8Weight:
    """Rounds a float32 weight to float8 e4m3; each output's greatest magnitude becomes 448, the format's."""
    extreme = weight.flatten(1).abs().amax(1).reshape(-1, *[1] * (weight.dim() - 1))
    scales = torch.where(extreme == 0, torch.ones_like(extreme), extreme / FP8_MOST)
    return Fp8Weight(nearest_fp8(weight / scales), scales)


def round_nf4(weight: torch.Tensor, group: int) -> Nf4Weight:
    """Rounds a float32 weight to the nearest levels of nf4, in groups of `group` neighbours."""
    groups = grouped(weight.flatten(1), Rounding(4, group))
    extreme = groups.abs().amax(2)
    scales = torch.where(extreme == 0, torch.ones_like(extreme), extreme)
    codes = nearest_nf4(groups / scales[..., None])
    return Nf4Weight(codes.flatten(1), scales, tuple(weight.shape))
