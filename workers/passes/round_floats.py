"""Rounding weights to few-bit floats: fp8 and nf4."""

from __future__ import annotations

import torch

from workers.graphs.low_bit_floats import NF4_LEVELS, Fp8Weight, Nf4Weight
from workers.passes.rounding_grid import Rounding, grouped

__all__ = ["round_fp8", "round_nf4"]

_FP8_MOST = torch.finfo(torch.float8_e4m3fn).max


def round_fp8(weight: torch.Tensor) -> Fp8Weight:
    """Rounds a float32 weight to float8 e4m3; each output's greatest magnitude becomes 448, the format's."""
    extreme = weight.flatten(1).abs().amax(1).reshape(-1, *[1] * (weight.dim() - 1))
    scales = torch.where(extreme == 0, torch.ones_like(extreme), extreme / _FP8_MOST)
    return Fp8Weight((weight / scales).clamp(-_FP8_MOST, _FP8_MOST).to(torch.float8_e4m3fn), scales)


def round_nf4(weight: torch.Tensor, group: int) -> Nf4Weight:
    """Rounds a float32 weight to the nearest levels of nf4, in groups of `group` neighbours."""
    groups = grouped(weight.flatten(1), Rounding(4, group))
    extreme = groups.abs().amax(2)
    scales = torch.where(extreme == 0, torch.ones_like(extreme), extreme)
    levels = torch.tensor(NF4_LEVELS, dtype=torch.float64)
    middles = ((levels[1:] + levels[:-1]) / 2).float()
    codes = torch.bucketize(groups / scales[..., None], middles)
    return Nf4Weight(codes.flatten(1).to(torch.int8), scales, tuple(weight.shape))
