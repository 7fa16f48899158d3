"""Low-bit weights in the layout that the kernels inside an AOTInductor package read (`backends/kernels/product.h`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from workers.graphs.low_bit import LowBitWeight

__all__ = ["LANES", "MOST_COLUMNS", "PackedWeight", "pack_weight"]

LANES = 16
"""Outputs of a panel."""
MOST_COLUMNS = 2**15
"""Of a group: the sum of so many products of two 8-bit numbers, and of the zero points, fits 32 bits."""


@dataclass(frozen=True)
class PackedWeight:
    """A weight in panels of `LANES` outputs, and the numbers that describe it to the kernel."""

    data: torch.Tensor
    """uint8, one dimension."""
    outputs: int
    columns: int
    bits: int
    """2, 4 or 8: three bits take four."""
    group: int
    has_zeros: bool

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """As the operators take them."""
        return self.outputs, self.columns, self.bits, self.group, int(self.has_zeros)


def pack_weight(weight: LowBitWeight) -> PackedWeight:
    """The weight's panels. A group has at most `MOST_COLUMNS` columns."""
    columns = weight.columns_used
    group = min(weight.group, columns)
    bits = weight.stored_bits
    outputs = int(weight.codes.shape[0])
    groups = -(-columns // group)
    middle = 2 ** (bits - 1)
    codes = _grouped((weight.codes[:, :columns].to(torch.int16) + middle).to(torch.uint8), groups, group)
    codes = _padded(functional.pad(codes, (0, -group % (32 // bits))))
    scales = _panels(_padded(weight.scales[:, :groups].float()))
    parts = [_bytes(_packed(codes, bits)), _bytes(scales)]
    if weight.zeros is not None:
        zeros = _bytes(_panels(_padded((weight.zeros[:, :groups] + middle).to(torch.uint8))))
        parts.append(functional.pad(zeros, (0, -zeros.shape[1] % 64)))
    sums = weight.dequantized().reshape(outputs, -1).double().sum(1).float()
    parts.append(_bytes(_padded(sums).reshape(-1, LANES)))
    return PackedWeight(torch.cat(parts, 1).flatten(), outputs, columns, bits, group, weight.zeros is not None)


def _grouped(codes: torch.Tensor, groups: int, group: int) -> torch.Tensor:
    """(outputs, columns) as (outputs, groups, group), zeros in the last."""
    return functional.pad(codes, (0, groups * group - codes.shape[1])).reshape(len(codes), groups, group)


def _padded(rows: torch.Tensor) -> torch.Tensor:
    """With rows of zeros up to whole panels."""
    return functional.pad(rows, (0, 0) * (rows.dim() - 1) + (0, -len(rows) % LANES))


def _panels(values: torch.Tensor) -> torch.Tensor:
    """(outputs, groups) as (panels, groups, LANES)."""
    return values.reshape(-1, LANES, values.shape[1]).transpose(1, 2).contiguous()


def _packed(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """(outputs, groups, width) as (panels, bytes): a byte holds the codes of columns k, k + 4, … of one output."""
    outputs, groups, width = codes.shape
    parts = 8 // bits
    split = codes.reshape(outputs // LANES, LANES, groups, width // (4 * parts), parts, 4)
    split = split.permute(0, 2, 3, 4, 1, 5)  # panel, group, block, part, output, column
    shifts = torch.arange(parts, dtype=torch.uint8).mul(bits).reshape(1, 1, 1, parts, 1, 1)
    joined = (split << shifts).sum(3, dtype=torch.int32).to(torch.uint8)
    return joined.reshape(outputs // LANES, -1).contiguous()


def _bytes(values: torch.Tensor) -> torch.Tensor:
    """(panels, bytes)."""
    return values.reshape(len(values), -1).contiguous().view(torch.uint8)
