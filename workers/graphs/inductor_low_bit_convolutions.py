"""Convolutions with low-bit weights, on kernels of our own inside an AOTInductor package.

1. A convolution is treated if any other layer of the program rounds its input: the form of weights has no rounding for
   the input of a convolution, which has no rows. Each sample is then rounded with one range for all of it.
2. It is treated where the kernel takes less processor time than oneDNN's float convolution (figures stand in
   `docs/backends/inductor.md`): from `FEWEST_OUTPUTS` and `FEWEST_COLUMNS` on. Rounding and copying patches cost the
   same however many outputs read them, and rounding weighs more where each input is read by one position of the kernel
   alone.
3. Those with groups, over three dimensions, and without a batch are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch.fx import Node

from workers.graphs.calls import arguments, operator_name
from workers.graphs.convolution_geometry import Geometry
from workers.graphs.inductor_operators import convolution
from workers.graphs.low_bit import LowBitWeight
from workers.isa import isa

__all__ = ["FEWEST_COLUMNS", "FEWEST_OUTPUTS", "convolution_refusal", "patch_order", "rounded_convolution"]

FEWEST_OUTPUTS = {"avx512_vnni": (256, 512), "avx2": (256, 1024)}
"""By what the processor has, the best first: of a kernel with several positions, and with one."""
FEWEST_COLUMNS = 512
"""Input channels times the positions of the kernel."""


def convolution_refusal(node: Node, weight: LowBitWeight, dynamic: bool) -> str | None:
    """Why a one- or two-dimensional convolution gets no kernel; `None`: it gets one.

    Args:
        dynamic: whether any layer of the program rounds its input.
    """
    call, name = arguments(node), operator_name(node)
    if not dynamic:
        return f"no kernel for {name} with float inputs"
    if call["groups"] != 1:
        return f"no kernel for {name} with groups"
    if call["input"].meta["val"].dim() != len(weight.shape):
        return f"no kernel for {name} without a batch"
    fewest = next((outputs for flag, outputs in FEWEST_OUTPUTS.items() if flag in isa()), None)
    if fewest is None:
        return f"no kernel for {name} without AVX2"
    if weight.shape[0] < fewest[prod(weight.shape[2:]) == 1] or weight.columns_used < FEWEST_COLUMNS:
        return f"{name} of this size gains too little"
    return None


def patch_order(weight: LowBitWeight) -> LowBitWeight:
    """The weight with the columns of each group in the order (kernel, channels), as the kernel copies patches."""
    columns = torch.arange(weight.columns_used)
    kernel = prod(weight.shape[2:])
    place = columns // weight.group * kernel + columns % kernel
    order = (place * weight.shape[1] + columns // kernel).argsort()
    codes = weight.codes.clone()
    codes[:, : len(order)] = weight.codes[:, order]
    return replace(weight, codes=codes)


def rounded_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, numbers: Sequence[int], geometry: Geometry
) -> torch.Tensor:
    """As `aten.conv1d` and `aten.conv2d`, with each sample of `x` rounded.

    Args:
        numbers: of the packed weight, as `PackedWeight.numbers`.
    """
    flat = x.dim() == 3
    kernel, stride, padding, dilation = _over_two(geometry) if flat else geometry
    sides = [side for sides in padding for side in sides]
    image = x.unsqueeze(2) if flat else x
    found: Any = convolution(image, weight, bias, *numbers, *kernel, *stride, *sides, *dilation).movedim(-1, 1)
    return found.squeeze(2) if flat else found  # type: ignore[no-any-return]


def _over_two(geometry: Geometry) -> Geometry:
    """A geometry over one dimension as one over two, the first of them of length 1."""
    kernel, stride, padding, dilation = geometry
    return [1, *kernel], [1, *stride], [(0, 0), *padding], [1, *dilation]
