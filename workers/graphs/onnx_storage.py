"""Low-bit weights that a layer reads as floats: packed in the file, unpacked once when ONNX Runtime loads it.

What unpacks them are standard operators on constants (`BitwiseAnd`, `BitShift`, `Cast`, `Mul`, …), which ONNX Runtime
folds when it loads the file. `DequantizeLinear` would not do: ONNX Runtime keeps it for its int8 kernels, and turns it
before a `MatMul` into a product that rounds the activations, which nobody asked for.
"""

from __future__ import annotations

import torch

from workers.graphs.low_bit import LowBitWeight
from workers.graphs.onnx_packing import as_bytes
from workers.graphs.onnx_sites import kept, standard

__all__ = ["float_rows", "packed_codes", "packed_zeros", "unpacked", "zero_of"]


def packed_codes(weight: LowBitWeight) -> torch.Tensor:
    """uint8 of shape (outputs, ⌈columns × bits / 8⌉): the codes from 0 on."""
    bits = weight.stored_bits
    return as_bytes((weight.codes.to(torch.int16) + zero_of(weight)).to(torch.uint8), bits)


def zero_of(weight: LowBitWeight) -> int:
    """What was added to the codes."""
    return int(2 ** (weight.stored_bits - 1))


def packed_zeros(weight: LowBitWeight) -> torch.Tensor:
    """What to take off the codes of `packed_codes`, a byte each where that holds them."""
    shift = zero_of(weight)
    if weight.zeros is None:
        return torch.full((1, 1), shift, dtype=torch.uint8)
    zeros = weight.zeros + shift
    return zeros.to(torch.uint8) if int(zeros.min()) >= 0 and int(zeros.max()) <= 255 else zeros.float()


def unpacked(packed: torch.Tensor, bits: int, columns: int) -> torch.Tensor:
    """The uint8 codes, (outputs, columns), of `packed_codes`."""
    packed = kept(packed)
    if bits == 8:
        return packed
    shape = (*packed.shape, 1)
    wide = packed.unsqueeze(-1)
    parts = []
    for shift in range(0, 8, bits):
        moved = wide
        if shift:
            by = torch.full((1,), shift, dtype=torch.uint8)
            moved = standard("BitShift", (wide, by), {"direction": "RIGHT"}, torch.uint8, shape)
        mask = torch.full((1,), 2**bits - 1, dtype=torch.uint8)
        parts.append(standard("BitwiseAnd", (moved, mask), {}, torch.uint8, shape))
    return torch.cat(parts, dim=-1).flatten(1)[:, :columns]


def float_rows(
    packed: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, bits: int, columns: int, group: int
) -> torch.Tensor:
    """The float32 weight, (outputs, columns), with a scale and a zero point for each `group` columns.

    Args:
        zeros: what to take off a code: a number for each scale, or one for all.
    """
    codes = unpacked(packed, bits, columns).to(torch.float32)
    groups = codes.reshape(codes.shape[0], -1, group)
    return ((groups - zeros.to(torch.float32).unsqueeze(-1)) * scales.unsqueeze(-1)).reshape(codes.shape)
