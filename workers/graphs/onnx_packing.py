"""Low-bit weights as ONNX Runtime's kernels read them: codes from 0 on, several to a byte, scales per block.

1. A code of b bits becomes unsigned: code + 2^(b-1). Three bits ride in four: there is no kernel for three.
2. A byte holds the neighbours of a row, the first in its lowest bits.
3. A kernel's block is a power of two. A group of another length is cut into equal blocks that repeat its scale; a
   scale for the whole row takes any block, and the row is filled up with the code of zero.
4. The zero points have one byte's layout too: a row's zero points side by side, filled up to a byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from workers.graphs.low_bit import LowBitWeight

__all__ = ["BLOCKS", "Packed", "as_bytes", "block_of", "from_bytes", "pack", "per_row", "reordered"]

BLOCKS = (256, 128, 64, 32, 16)
"""Block lengths that a kernel takes, largest first: fewer scales are faster and smaller."""


@dataclass(frozen=True)
class Packed:
    """What `MatMulNBits` and `GatherBlockQuantized` take."""

    codes: torch.Tensor
    """uint8 of shape (outputs, blocks, block × bits / 8)."""
    scales: torch.Tensor
    """float32 of shape (outputs, blocks)."""
    zeros: torch.Tensor | None
    """uint8 of shape (outputs, ⌈blocks × bits / 8⌉)."""
    bits: int
    block: int
    columns: int
    """Columns that the product reads; those behind them fill the last block."""

    def dequantized(self) -> torch.Tensor:
        """The float32 weight, of shape (outputs, columns): the inverse, for tests."""
        outputs, blocks = self.scales.shape
        codes = from_bytes(self.codes, self.bits).reshape(outputs, blocks, self.block).float()
        middle = torch.full((outputs, blocks), 2.0 ** (self.bits - 1))
        zeros = middle if self.zeros is None else from_bytes(self.zeros, self.bits)[:, :blocks].float()
        floats = (codes - zeros[..., None]) * self.scales[..., None]
        return floats.reshape(outputs, -1)[:, : self.columns]


def per_row(weight: LowBitWeight) -> bool:
    """True if each row has one scale."""
    return weight.scales.shape[1] == 1


def block_of(weight: LowBitWeight, allowed: tuple[int, ...] = BLOCKS) -> int | None:
    """Rule 3: the largest of the allowed blocks for a weight; `None` if its groups can't be cut into one of them, or if
    a zero point lies outside the range of the codes."""
    if weight.zeros is not None and not _zeros_fit(weight):
        return None
    if per_row(weight):
        fitting = [block for block in allowed if block < 2 * weight.columns_used]
        return fitting[0] if fitting else allowed[-1]
    return next((block for block in allowed if weight.group % block == 0), None)


def pack(weight: LowBitWeight, block: int, bits: int | None = None) -> Packed:
    """Packs a weight, exactly.

    Args:
        block: as `block_of` gives it.
        bits: that a code takes; more than it needs is a waste, but some kernels are faster so.

    """
    assert per_row(weight) or weight.group % block == 0
    width = bits or weight.stored_bits
    middle = 2 ** (width - 1)
    columns = weight.columns_used
    blocks = -(-columns // block)
    codes = np.full((weight.codes.shape[0], blocks * block), middle, dtype=np.uint8)
    codes[:, :columns] = weight.codes[:, :columns].numpy().astype(np.int16) + middle
    repeats = 1 if per_row(weight) else weight.group // block
    return Packed(
        codes=as_bytes(torch.from_numpy(codes), width).reshape(len(codes), blocks, -1),
        scales=_spread(weight.scales, blocks, repeats).float(),
        zeros=None if weight.zeros is None else _zeros(weight, blocks, repeats, width),
        bits=width,
        block=block,
        columns=columns,
    )


def as_bytes(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Rule 2, along the last dimension, which is filled up with zeros to whole bytes. `codes` is uint8."""
    each = 8 // bits
    values: npt.NDArray[np.uint8] = codes.numpy()
    values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, -values.shape[-1] % each)])
    parts = values.reshape(*values.shape[:-1], -1, each)
    packed = np.zeros(parts.shape[:-1], dtype=np.uint8)
    for place in range(each):
        packed |= parts[..., place] << np.uint8(place * bits)
    return torch.from_numpy(packed)


def from_bytes(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """The inverse of `as_bytes`: uint8 codes, `8 / bits` times as many along the last dimension."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (packed.numpy()[..., None] >> shifts) & np.uint8(2**bits - 1)
    return torch.from_numpy(codes.reshape(*packed.shape[:-1], -1))


def reordered(weight: LowBitWeight, columns: torch.Tensor) -> LowBitWeight:
    """The weight with its columns in another order; each row must have one scale.

    Args:
        columns: for each new column the old one.
    """
    assert per_row(weight)
    codes = weight.codes[:, columns].contiguous()
    return replace(weight, codes=codes, group=len(columns), shape=(weight.shape[0], len(columns)))


def _spread(values: torch.Tensor, blocks: int, repeats: int) -> torch.Tensor:
    """One value per block from one per group, or per row."""
    if values.shape[1] == 1:
        return values.expand(-1, blocks).contiguous()
    return values.repeat_interleave(repeats, dim=1)[:, :blocks].contiguous()


def _zeros(weight: LowBitWeight, blocks: int, repeats: int, bits: int) -> torch.Tensor:
    assert weight.zeros is not None
    shifted = _spread(weight.zeros, blocks, repeats) + 2 ** (bits - 1)
    return as_bytes(shifted.to(torch.uint8), bits)


def _zeros_fit(weight: LowBitWeight) -> bool:
    assert weight.zeros is not None
    least, most = weight.code_range
    return bool(weight.zeros.min() >= least) and bool(weight.zeros.max() <= most)
