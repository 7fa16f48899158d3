"""Low-bit weights as the bytes that `cuda_products.py` reads. Packed once, when the artifact is made."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional

from workers.graphs.low_bit import LowBitWeight

__all__ = [
    "Int4Tiles",
    "Int8Rows",
    "compress_2_of_4",
    "int4_tiles",
    "int8_rows",
    "is_2_of_4",
    "packed",
    "packed_codes",
    "packed_zeros",
    "tile_group",
]

aten = torch.ops.aten

TILE_GROUPS = (256, 128, 64, 32)
"""Groups that torch's 4-bit kernel for CUDA takes."""
_SPARSE_ROWS, _SPARSE_COLUMNS = 16, 16
"""Multiples that cuSPARSELt wants of a weight's sides in half precision."""


@dataclass(frozen=True)
class Int4Tiles:
    """A weight for `_weight_int4pack_mm`."""

    tiles: torch.Tensor
    """int32, of a layout of the card's own."""
    scales_and_zeros: torch.Tensor
    """bfloat16 (columns / group, rows, 2): weight = (code - 8) * scale + zero, codes 0 … 15."""
    group: int
    columns: int


@dataclass(frozen=True)
class Int8Rows:
    """A weight for `_int_mm`: one scale for each row."""

    codes: torch.Tensor
    """int8, both sides multiples of 8."""
    scales: torch.Tensor
    """float32 (rows,)."""
    zeros: torch.Tensor | None
    """int32 (rows,)."""
    sums: torch.Tensor
    """int32 (rows,), of the codes."""


def packed(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Unsigned codes of 2 or 4 bits in bytes, the first in the lowest bits; each row is filled up to whole bytes."""
    per_byte = 8 // bits
    filled = functional.pad(codes.to(torch.uint8), (0, -codes.shape[1] % per_byte)).unflatten(1, (-1, per_byte))
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    return torch.bitwise_left_shift(filled, shifts).sum(-1, dtype=torch.uint8)


def packed_codes(weight: LowBitWeight) -> torch.Tensor:
    """The codes of a weight as `unpacked` reads them."""
    bits = weight.stored_bits
    return weight.codes if bits == 8 else packed(weight.codes + 2 ** (bits - 1), bits)


def packed_zeros(weight: LowBitWeight) -> torch.Tensor | None:
    """Zero points, shifted as the codes are, in a byte each."""
    if weight.zeros is None:
        return None
    bits = weight.stored_bits
    return weight.zeros.to(torch.int8) if bits == 8 else (weight.zeros + 2 ** (bits - 1)).to(torch.uint8)


def tile_group(weight: LowBitWeight) -> int | None:
    """The group for the 4-bit kernel; `None` if it has none that fits. A group may be cut in parts of equal scale."""
    columns = weight.codes.shape[1]
    if weight.group == columns:  # the row: it can be filled up, too
        least = _up(columns, TILE_GROUPS[-1])
        return next(group for group in TILE_GROUPS if _up(columns, group) == least)
    return next((group for group in TILE_GROUPS if weight.group % group == 0), None)


def int4_tiles(weight: LowBitWeight, group: int, device: str) -> Int4Tiles:
    """A weight of 3 or 4 bits laid out for the tensor cores of `device`, by its own kernel.

    Added columns meet zeros of the input; added rows are cut from the result.
    """
    rows, columns = weight.codes.shape
    wide, high = _up(columns, group), _up(rows, 8)
    codes = functional.pad(weight.codes + 8, (0, wide - columns, 0, high - rows), value=8)
    pairs = (codes[:, ::2] << 4 | codes[:, 1::2]).to(torch.uint8)  # the earlier column in the upper half
    inner = next(count for count in (8, 4, 2) if wide % (16 * count) == 0)
    parts = math.ceil(wide / group / weight.scales.shape[1])
    scales = weight.scales.repeat_interleave(parts, 1)
    zeros = torch.zeros_like(scales) if weight.zeros is None else -weight.zeros.repeat_interleave(parts, 1) * scales
    both = functional.pad(torch.stack([scales, zeros], -1), (0, 0, 0, 0, 0, high - rows))
    return Int4Tiles(
        tiles=_tiles(pairs, inner, device),
        scales_and_zeros=both.transpose(0, 1).to(torch.bfloat16).contiguous(),
        group=group,
        columns=wide,
    )


def int8_rows(codes: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor | None) -> Int8Rows:
    """Codes of shape (outputs, inputs) with one scale and zero for each output, filled up to multiples of 8."""
    rows, columns = codes.shape
    more = (0, _up(rows, 8) - rows)
    filled = functional.pad(codes, (0, _up(columns, 8) - columns, *more))
    return Int8Rows(
        codes=filled,
        scales=functional.pad(scales.reshape(-1).to(torch.float32), more),
        zeros=None if zeros is None else functional.pad(zeros.reshape(-1).to(torch.int32), more),
        sums=filled.sum(1, dtype=torch.int32),
    )


def is_2_of_4(weight: torch.Tensor) -> bool:
    """True if at least two of each four neighbours along the inputs are zero."""
    if weight.dim() != 2 or weight.shape[1] % 4:
        return False
    return bool(((weight.unflatten(1, (-1, 4)) == 0).sum(-1) >= 2).all())


def compress_2_of_4(weight: torch.Tensor, device: str) -> tuple[torch.Tensor, int]:
    """A weight of 2:4 zeros as cuSPARSELt lays it out on `device`, and its columns when filled up."""
    rows, columns = weight.shape
    wide = _up(columns, _SPARSE_COLUMNS)
    filled = functional.pad(weight, (0, wide - columns, 0, _up(rows, _SPARSE_ROWS) - rows))
    return _compressed(filled.contiguous(), device), wide


def _tiles(pairs: torch.Tensor, inner: int, device: str) -> torch.Tensor:
    found: torch.Tensor = aten._convert_weight_to_int4pack(pairs.contiguous().to(device), inner)
    return found.cpu()


def _compressed(weight: torch.Tensor, device: str) -> torch.Tensor:
    found: torch.Tensor = aten._cslt_compress(weight.to(device))
    return found.cpu()


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
