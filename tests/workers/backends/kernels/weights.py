"""Random weights of few bits, and what eager computes with them."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from workers.graphs.low_bit import LowBitWeight, ops

__all__ = ["magnitude", "random_weight", "reference"]


def random_weight(
    generator: torch.Generator, outputs: int, columns: int, bits: int, group: int | None, zeros: bool
) -> LowBitWeight:
    """Codes over their whole range, the extremes among them."""
    width = group or columns
    stored = -(-columns // width) * width
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1)

    def codes(*shape: int) -> torch.Tensor:
        return torch.randint(least, most, shape, generator=generator)

    scales = torch.randn(outputs, stored // width, generator=generator) / math.sqrt(columns) / most
    return LowBitWeight(
        codes=codes(outputs, stored).to(torch.int8),
        scales=scales,
        zeros=codes(outputs, stored // width).to(torch.int32) if zeros else None,
        bits=bits,
        group=width,
        shape=(outputs, columns),
    )


def reference(x: torch.Tensor, weight: LowBitWeight, bias: torch.Tensor | None, rounded: bool) -> torch.Tensor:
    """As eager computes the low-bit form, in float64 behind the rounding."""
    if rounded:
        scale, zero = ops.choose_qparams_per_token_asymmetric(x, torch.int8)
        codes = ops.quantize_per_token(x, scale, zero, -128, 127, torch.int8)
        x = (codes.double() - zero) * scale
    return functional.linear(x.double(), weight.dequantized().double(), None if bias is None else bias.double())


def magnitude(x: torch.Tensor, weight: LowBitWeight) -> float:
    """The largest sum of absolute products: what rounding errors are relative to. Offsets of inputs count with it."""
    most = x.abs().amax(-1, keepdim=True).expand_as(x).double()
    return float((most @ weight.dequantized().double().abs().T).max())
