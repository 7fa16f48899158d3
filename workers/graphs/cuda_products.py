"""Layers that read packed weights, as plain functions: what a package for CUDA computes in their place.

A rewrite puts calls of these functions in a graph; exporting it again traces them to aten operators. Those have a
kernel that AOTInductor calls (`_weight_int4pack_mm`, `_int_mm`, `_cslt_sparse_mm`), or they are elementwise, and
Inductor fuses them into one Triton kernel, or into the matrix product that reads it.

Shapes: x (…, in), weights (out, in), results (…, out). Rows of x are its vectors along the last dimension.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

__all__ = [
    "LEAST_ROWS",
    "embedded",
    "embedded_levels",
    "grouped_weight",
    "int4_linear",
    "int8_linear",
    "int8_static_linear",
    "level_weight",
    "linear_in_bfloat16",
    "sparse_linear",
    "unpacked",
]

aten = torch.ops.aten

LEAST_ROWS = 17
"""Rows that `_int_mm` wants at least on CUDA."""
_EPS = torch.finfo(torch.float32).eps
_SPARSE_MULTIPLE = 8
"""Rows of half precision that cuSPARSELt takes a multiple of."""


def unpacked(packed: torch.Tensor, bits: int, columns: int) -> torch.Tensor:
    """Codes out of their bytes, the first in the lowest bits.

    Args:
        packed: uint8 of shape (…, bytes); int8 codes as they are, for 8 bits.
        bits: 2, 4 or 8.

    Returns:
        integers of shape (…, columns): 0 … 2^bits - 1, of 8 bits -128 … 127.
    """
    if bits == 8:
        return packed
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
    codes = torch.bitwise_right_shift(packed.unsqueeze(-1), shifts).bitwise_and(2**bits - 1).flatten(-2)
    return codes if codes.shape[-1] == columns else codes[..., :columns]


def grouped_weight(
    packed: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None, bits: int, columns: int
) -> torch.Tensor:
    """Rows of a low-bit weight in float32: (code - zero) * scale.

    Args:
        packed: (rows, bytes), as `unpacked` takes it. Signed codes of less than 8 bits have half their range added.
        scales: float32 of shape (rows, groups).
        zeros: the same shape, shifted as the codes are; `None`: zero is in the middle of the range.
    """
    codes = unpacked(packed, bits, columns).to(torch.float32).unflatten(-1, (scales.shape[-1], -1))
    if zeros is not None:
        codes = codes - zeros.to(torch.float32).unsqueeze(-1)
    elif bits < 8:
        codes = codes - float(2 ** (bits - 1))
    return _scaled(codes, scales)


def level_weight(
    packed: torch.Tensor, scales: torch.Tensor, levels: torch.Tensor, columns: int, shape: list[int]
) -> torch.Tensor:
    """An nf4 weight in float32, in the shape that its layer reads: one of 16 levels, times the scale of its group."""
    rows = _level_rows(packed, scales, levels, columns)
    return rows[:, : math.prod(shape[1:])].reshape(shape)


def embedded(
    packed: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    bits: int,
    columns: int,
    width: int,
    indices: torch.Tensor,
) -> torch.Tensor:
    """The rows of a low-bit table that `indices` ask for; the others stay packed."""
    zeros = None if zeros is None else _rows(zeros, indices)
    found = grouped_weight(_rows(packed, indices), _rows(scales, indices), zeros, bits, columns)
    return found[:, :width].reshape(*indices.shape, width)


def embedded_levels(
    packed: torch.Tensor,
    scales: torch.Tensor,
    levels: torch.Tensor,
    columns: int,
    width: int,
    indices: torch.Tensor,
) -> torch.Tensor:
    """The same of an nf4 table."""
    found = _level_rows(_rows(packed, indices), _rows(scales, indices), levels, columns)
    return found[:, :width].reshape(*indices.shape, width)


def linear_in_bfloat16(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A linear layer whose product is of bfloat16 factors; result in the type of x."""
    made = functional.linear(x.to(torch.bfloat16), weight.to(torch.bfloat16)).to(x.dtype)
    return made if bias is None else made + bias


def int4_linear(
    x: torch.Tensor,
    tiles: torch.Tensor,
    scales_and_zeros: torch.Tensor,
    bias: torch.Tensor | None,
    group: int,
    columns: int,
    outputs: int,
) -> torch.Tensor:
    """A linear layer on torch's tensor-core kernel for 4-bit weights, which takes bfloat16.

    Args:
        tiles: int32 as `_convert_weight_to_int4pack` lays them out, for `columns` inputs and at least `outputs` rows.
        scales_and_zeros: bfloat16 of shape (columns / group, rows, 2).
    """
    rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
    if columns != x.shape[-1]:
        rows = functional.pad(rows, (0, columns - x.shape[-1]))
    return _result(_int4_product(rows, tiles, group, scales_and_zeros).to(x.dtype), x, bias, outputs)


def int8_linear(
    x: torch.Tensor,
    codes: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    sums: torch.Tensor,
    bias: torch.Tensor | None,
    outputs: int,
) -> torch.Tensor:
    """A linear layer on int8 tensor cores; every row of x is rounded to int8 with a range of its own.

    With x = (a - p) s and w = (b - q) t:  Σ x w = s t (Σ a b - p Σ b - q Σ a + K p q). All but s t are integers.

    Args:
        codes: int8 of shape (rows, columns), multiples of 8; what was added is zero.
        scales: float32 (rows,).
        zeros: int32 (rows,) or `None`: zero.
        sums: int32 (rows,), of each row's codes.
    """
    rows = x.reshape(-1, x.shape[-1])
    rounded, scale, zero = _rounded_rows(rows)
    product = _int8_product(rounded, codes)
    product = product - zero.to(torch.int32) * sums
    if zeros is not None:
        counts = rounded.sum(-1, keepdim=True, dtype=torch.int32) - zero.to(torch.int32) * x.shape[-1]
        product = product - counts * zeros
    return _result(product.to(torch.float32) * scale * scales, x, bias, outputs)


def int8_static_linear(
    x: torch.Tensor,
    scale: float,
    zero: int,
    codes: torch.Tensor,
    scales: torch.Tensor,
    sums: torch.Tensor,
    bias: torch.Tensor | None,
    outputs: int,
) -> torch.Tensor:
    """The same with one range for all of x, which comes as its codes.

    Args:
        x: uint8 or int8; means (x - zero) * scale.
    """
    if x.dtype is torch.uint8:
        x, zero = (x.to(torch.int16) - 128).to(torch.int8), zero - 128
    product = _int8_product(x.reshape(-1, x.shape[-1]), codes) - zero * sums
    return _result(product.to(torch.float32) * (scales * scale), x, bias, outputs)


def sparse_linear(
    x: torch.Tensor, compressed: torch.Tensor, bias: torch.Tensor | None, columns: int, outputs: int
) -> torch.Tensor:
    """A linear layer on 2:4 sparse tensor cores, in half precision.

    Args:
        compressed: the weight as `_cslt_compress` lays it out, of at least `outputs` rows and `columns` inputs.
    """
    rows = x.reshape(-1, x.shape[-1])
    count = rows.shape[0]
    padded = functional.pad(rows, (0, columns - x.shape[-1], 0, -count % _SPARSE_MULTIPLE))
    return _result(_sparse_product(compressed, padded)[:count], x, bias, outputs)


def _result(product: torch.Tensor, x: torch.Tensor, bias: torch.Tensor | None, outputs: int) -> torch.Tensor:
    """A product's rows as a linear layer of x gives them: without outputs that fill the weight up, with the bias."""
    made = product[:, :outputs].reshape(*x.shape[:-1], outputs)
    return made if bias is None else made + bias


def _level_rows(packed: torch.Tensor, scales: torch.Tensor, levels: torch.Tensor, columns: int) -> torch.Tensor:
    found = levels[unpacked(packed, 4, columns).to(torch.int32)]
    return _scaled(found.unflatten(-1, (scales.shape[-1], -1)), scales)


def _scaled(grouped: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Values (rows, groups, group) times the scale of each group, as rows."""
    return (grouped * scales.unsqueeze(-1)).flatten(-2)


def _rows(table: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    return table[indices.reshape(-1)]


def _rounded_rows(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes (int8), scale and zero point of each row: what `quantize_per_token` finds, in float32 throughout."""
    low, high = x.amin(-1, keepdim=True).clamp(max=0.0), x.amax(-1, keepdim=True).clamp(min=0.0)
    scale = ((high - low) / 255.0).clamp(min=_EPS)
    low, high = low / scale, high / scale
    zero = torch.where(low + high > 1.0, -128.0 - low, 127.0 - high).clamp(-128.0, 127.0).round()
    codes = (x * (1.0 / scale) + zero).round().clamp(-128.0, 127.0).to(torch.int8)
    return codes, scale, zero


def _int4_product(x: torch.Tensor, tiles: torch.Tensor, group: int, scales_and_zeros: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = aten._weight_int4pack_mm(x, tiles, group, scales_and_zeros)
    return product


def _sparse_product(compressed: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    product: torch.Tensor = aten._cslt_sparse_mm(compressed, x.t(), transpose_result=True)
    return product


def _int8_product(x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """x · codesᵀ as int32, with the rows and columns that the kernel wants added and cut again."""
    count, missing = x.shape[0], codes.shape[1] - x.shape[1]
    enough = isinstance(count, int) and count >= LEAST_ROWS
    if missing or not enough:
        x = functional.pad(x, (0, missing, 0, 0 if enough else LEAST_ROWS - 1))
    product: torch.Tensor = aten._int_mm(x, codes.t())
    return product[:count]
