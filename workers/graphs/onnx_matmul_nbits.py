"""Linear layers with low-bit weights, on the products of ONNX Runtime that compute with the codes.

Which of them, by what `benchmarks/onnx_low_bit.py` measures:

1. Rounded input, weights of 8 bits with one scale per row, at least `INTEGER_ROWS` rows: a product of integers
   (`MatMulIntegerToFloat`), each row of the input rounded by itself. ONNX Runtime's own dynamic quantization takes one
   range for the whole batch instead, so that a sample's result depends on its neighbours.
2. Rounded input otherwise: `MatMulNBits` at accuracy level 4, which rounds the input to int8 block by block. Two bits
   have such a kernel for blocks of 32 to 128; a group of 16 rides in four bits.
3. Input not rounded, 2 to 4 bits, at most `STREAMING_ROWS` rows and a matrix too large for the cache: `MatMulNBits`
   at accuracy level 0, the codes in four bits (the 2-bit kernel of that level is slower than float by an order).
4. Anything else is stored in its bits and computed in float.
"""

from __future__ import annotations

import torch
from torch.fx import Node

from workers.graphs.low_bit import LowBitWeight
from workers.graphs.onnx_packing import BLOCKS, Packed, block_of, pack, per_row
from workers.graphs.onnx_sites import Site, contrib, standard

__all__ = ["INTEGER_ROWS", "STREAMING_ROWS", "lower_linear", "matmul_nbits", "nbits_options", "packed_for_rounded"]

INTEGER_ROWS = 8
STREAMING_ROWS = 4
STREAMING_SIZE = 2**20
"""Weights of a matrix that is read from memory for each call."""
_TWO_BIT_BLOCKS = (128, 64, 32)
_TINY = 1e-12
"""Least scale of a row, for rows of one value."""


def lower_linear(site: Site, weight: LowBitWeight, source: Node | None) -> str | None:
    """Replaces an `aten.linear` by the fastest product that computes with the codes.

    Args:
        source: the float tensor behind a rounded input; `None` if the layer's input is not rounded.

    Returns:
        how the layer computes now; `None` if it stays as it is (rule 4).
    """
    x, bias = source or site.node.args[0], site.node.args[2] if len(site.node.args) > 2 else None
    assert isinstance(x, Node)
    if len(site.sizes.of(x)) < 2:
        return None
    rows = site.sizes.rows(x)
    if source is not None and weight.bits == 8 and per_row(weight) and rows >= INTEGER_ROWS:
        return _integers(site, weight, x, bias)
    if source is not None:
        return _nbits(site, packed_for_rounded(weight), x, bias, level=4)
    if weight.bits < 8 and rows <= STREAMING_ROWS and weight.codes.numel() >= STREAMING_SIZE:
        block = block_of(weight)
        return _nbits(site, None if block is None else pack(weight, block, bits=4), x, bias, level=0)
    return None


def packed_for_rounded(weight: LowBitWeight) -> Packed | None:
    """The weight for `MatMulNBits` at accuracy level 4 (rule 2); `None` if no kernel takes it."""
    blocks = _TWO_BIT_BLOCKS if weight.bits == 2 else BLOCKS
    block = block_of(weight, blocks)
    if block is not None:
        return pack(weight, block)
    block = block_of(weight)
    return None if block is None else pack(weight, block, bits=max(4, weight.stored_bits))


def nbits_options(packed: Packed, level: int) -> dict[str, int]:
    """The attributes of `MatMulNBits`."""
    return {
        "K": packed.columns,
        "N": len(packed.codes),
        "bits": packed.bits,
        "block_size": packed.block,
        "accuracy_level": level,
    }


def matmul_nbits(
    x: torch.Tensor,
    codes: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    bias: torch.Tensor | None,
    options: dict[str, int],
) -> torch.Tensor:
    """`x` (…, K) times the packed weight, transposed, plus the bias: (…, N)."""
    return contrib("MatMulNBits", (x, codes, scales, zeros, None, bias), options, x, (*x.shape[:-1], options["N"]))


def _nbits(site: Site, packed: Packed | None, x: Node, bias: object, level: int) -> str | None:
    if packed is None:
        return None
    constants = [
        site.constant("codes", packed.codes),
        site.constant("scales", packed.scales.flatten()),
        site.constant("zeros", packed.zeros),
    ]
    site.replace(matmul_nbits, x, *constants, bias, nbits_options(packed, level))
    inputs = "int8 per block" if level == 4 else "float"
    return f"computed in {packed.bits} bits, block {packed.block}, inputs {inputs} (MatMulNBits)"


def _integers(site: Site, weight: LowBitWeight, x: Node, bias: object) -> str:
    codes = weight.codes[:, : weight.columns_used]
    scales = weight.scales[:, 0].float()
    zeros = None if weight.zeros is None else weight.zeros[:, 0].to(torch.int8)
    # A row's least value times these is what its integer product lacks.
    sums = weight.dequantized().double().sum(1).float()
    site.replace(
        row_products,
        x,
        site.constant("codes", codes.T),
        site.constant("scales", scales),
        site.constant("zeros", zeros),
        site.constant("sums", sums),
        bias,
    )
    return "computed in 8 bits, inputs int8 per row (MatMulIntegerToFloat)"


def row_products(
    x: torch.Tensor,
    codes: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    sums: torch.Tensor,
    bias: torch.Tensor | None,
) -> torch.Tensor:
    """`x` (…, K), each row in 256 levels from its least to its greatest value, times int8 `codes` (K, N).

    x ≈ least + step · u with u in 0 … 255, so x W = step · (u W) + least · (column sums of W). `scales`, `zeros` and
    `sums` are per column; the first is that of the codes, the last of the weights.
    """
    least = x.amin(-1, keepdim=True).clamp(max=0.0)
    step = ((x.amax(-1, keepdim=True).clamp(min=0.0) - least) / 255).clamp(min=_TINY)
    one, zero = x.new_ones(()), torch.zeros((), dtype=torch.uint8)
    levels = standard("QuantizeLinear", ((x - least) / step, one, zero), {}, torch.uint8, x.shape)
    inputs = (levels, codes, one, scales, None if zeros is None else zero, zeros)
    product = contrib("MatMulIntegerToFloat", inputs, {}, x, (*x.shape[:-1], codes.shape[1]))
    rest = least * sums if bias is None else least * sums + bias
    return product * step + rest
