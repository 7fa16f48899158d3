"""Embedding tables in few bits: `GatherBlockQuantized` reads the rows that are asked for, and only them."""

from __future__ import annotations

import torch
from torch.fx import Node

from workers.graphs.low_bit import LowBitWeight
from workers.graphs.onnx_packing import block_of, pack
from workers.graphs.onnx_sites import Site, contrib, kept

__all__ = ["lower_embedding"]


def lower_embedding(site: Site, weight: LowBitWeight) -> str | None:
    """Replaces an `aten.embedding`.

    Returns:
        how the table is kept now; `None` if its groups fit no block.
    """
    block = block_of(weight)
    if block is None:
        return None
    packed = pack(weight, block)
    indices = site.node.args[1]
    assert isinstance(indices, Node)
    site.replace(
        gathered,
        site.constant("codes", packed.codes),
        indices,
        site.constant("scales", packed.scales),
        site.constant("zeros", packed.zeros),
        packed.bits,
        block,
        packed.columns,
    )
    return f"looked up in {packed.bits} bits, block {block} (GatherBlockQuantized)"


def gathered(
    codes: torch.Tensor,
    indices: torch.Tensor,
    scales: torch.Tensor,
    zeros: torch.Tensor | None,
    bits: int,
    block: int,
    columns: int,
) -> torch.Tensor:
    """The rows `indices` of the table, dequantized: (*indices, columns).

    `codes` are as for `MatMulNBits`, so that a table which is a layer's weight, too, is in the file once.
    """
    table = kept(codes).flatten(1)
    attributes = {"bits": bits, "block_size": block, "gather_axis": 0, "quantize_axis": 1}
    width = table.shape[1] * 8 // bits
    rows = contrib("GatherBlockQuantized", (table, indices, scales, zeros), attributes, scales, (*indices.shape, width))
    return rows[..., :columns]
