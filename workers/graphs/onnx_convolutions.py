"""Convolutions with low-bit weights as matrix products over patches, where that is faster than a float convolution.

1. The input is cut into shifted, strided slices, one for each position of the kernel; side by side they are the
   patches, and `MatMulNBits` multiplies them with the codes. A 1 × 1 kernel needs one slice and no copy.
2. With one scale per row the weight's columns may be put in the order (kernel, channels), so that slices are joined in
   long runs. Scales per group bind the columns to their order (channels, kernel), which takes one more copy.
3. Making patches costs the same however many output channels read them: the product pays from `FEWEST_OUTPUTS` on, as
   measured by `benchmarks/onnx_low_bit.py`. Below, and for grouped, transposed and 3-d convolutions, the weight is only
   stored in its bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch.nn import functional

from workers.graphs.calls import arguments
from workers.graphs.convolution_geometry import geometry_of
from workers.graphs.low_bit import LowBitWeight
from workers.graphs.onnx_matmul_nbits import matmul_nbits, nbits_options, packed_for_rounded
from workers.graphs.onnx_packing import per_row, reordered
from workers.graphs.onnx_sites import Site

__all__ = ["FEWEST_OUTPUTS", "lower_convolution"]

FEWEST_OUTPUTS = {("two", True): 512, ("two", False): 1024, ("more", True): 256, ("more", False): 512}
"""Least output channels, for two or more bits, by rule 2: the order of columns is free, or bound by groups."""


def lower_convolution(site: Site, weight: LowBitWeight) -> str | None:
    """Replaces a 1-d or 2-d convolution.

    Returns:
        how it computes now; `None` if it stays as it is (rule 3).
    """
    call = arguments(site.node)
    kernel = weight.shape[2:]
    if call["groups"] != 1 or len(site.sizes.of(call["input"])) != len(weight.shape):
        return None
    free = per_row(weight) or prod(kernel) == 1
    if weight.shape[0] < FEWEST_OUTPUTS["two" if weight.bits == 2 else "more", free]:
        return None
    packed = packed_for_rounded(_kernel_first(weight) if per_row(weight) else weight)
    if packed is None:
        return None
    constants = [
        site.constant("codes", packed.codes),
        site.constant("scales", packed.scales.flatten()),
        site.constant("zeros", packed.zeros),
    ]
    geometry = geometry_of(call, kernel)
    site.replace(
        patch_products, call["input"], *constants, call["bias"], nbits_options(packed, level=4), geometry, free
    )
    return f"computed in {packed.bits} bits, block {packed.block}, patches int8 per block (MatMulNBits)"


def patch_products(
    x: torch.Tensor,
    codes: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    bias: torch.Tensor | None,
    options: dict[str, int],
    geometry: Sequence[Sequence[Any]],
    free: bool,
) -> torch.Tensor:
    """The convolution of `x`, (batch, channels, *positions), by packed weights.

    Args:
        geometry: kernel, stride, padding (before and after) and dilation, each one entry per dimension.
        free: the weight's columns are (kernel, channels), else (channels, kernel).
    """
    kernel, stride, padding, dilation = geometry
    if any(sum(sides) for sides in padding):
        x = functional.pad(x, [side for sides in reversed(padding) for side in sides])
    if free:
        last = x.movedim(1, -1)
        slices = list(_slices(last, 1, kernel, stride, dilation))
        patches = torch.cat(slices, dim=-1) if len(slices) > 1 else slices[0]
    else:
        stacked = torch.stack(list(_slices(x, 2, kernel, stride, dilation)), dim=2)
        patches = stacked.flatten(1, 2).movedim(1, -1)
    return matmul_nbits(patches, codes, scales, zeros, bias, options).movedim(-1, 1)


def _slices(
    x: torch.Tensor, first: int, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[torch.Tensor]:
    """For each position of the kernel what it reads, with the positions from dimension `first` on."""
    for position in itertools.product(*(range(size) for size in kernel)):
        part = x
        for axis, (at, size, step, apart) in enumerate(zip(position, kernel, stride, dilation, strict=True), first):
            rest = (size - 1 - at) * apart
            part = part[(slice(None),) * axis + (slice(at * apart, x.shape[axis] - rest, step),)]
        yield part


def _kernel_first(weight: LowBitWeight) -> LowBitWeight:
    """Rule 2."""
    channels = weight.shape[1]
    order = torch.arange(weight.columns_used).reshape(channels, -1).T.flatten()
    return reordered(weight, order)
