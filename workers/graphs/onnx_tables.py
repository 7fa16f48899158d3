"""Few-bit floats, fp8 and nf4: codes and the table of what they mean, brought to float32 when the file is loaded.

ONNX Runtime computes with neither. It has a product for nf4, `MatMulBnb4`, which takes three to nine times as long as
the float product (`benchmarks/onnx_low_bit.py`), and reads float8 only from opset 19 on. So the codes are packed, and
`Gather` on the table of 256 or 16 values, which ONNX Runtime folds, makes the float weight.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import GraphModule, Node
from torch.nn import functional

from workers.graphs.low_bit_floats import NF4_LEVELS, Fp8Weight, Nf4Weight, read_fp8, read_nf4
from workers.graphs.onnx_packing import as_bytes
from workers.graphs.onnx_sites import Site
from workers.graphs.onnx_storage import unpacked

__all__ = ["read_few_bit_float", "store_few_bit_float"]


def read_few_bit_float(module: GraphModule, node: Node) -> Fp8Weight | Nf4Weight | None:
    """The fp8 or nf4 weight that `node` makes; `None` for any other node."""
    return read_fp8(module, node) or read_nf4(module, node)


def store_few_bit_float(site: Site, weight: Fp8Weight | Nf4Weight) -> None:
    """Replaces the node that makes a weight by what makes it from packed codes."""
    if isinstance(weight, Fp8Weight):
        codes, bits, shape = weight.codes.view(torch.uint8).flatten(1), 8, tuple(weight.codes.shape)
        table = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).to(torch.float32)
        group = codes.shape[1]
    else:
        codes, bits, shape, group = weight.codes.to(torch.uint8), 4, weight.shape, weight.group
        table = torch.tensor(NF4_LEVELS)
    constants = [
        site.constant("packed", as_bytes(codes, bits)),
        site.constant("table", table.nan_to_num(0.0)),
        site.constant("scales", weight.scales.flatten(1).float()),
    ]
    site.replace(looked_up, *constants, bits, codes.shape[1], group, shape)


def looked_up(
    packed: torch.Tensor,
    table: torch.Tensor,
    scales: torch.Tensor,
    bits: int,
    columns: int,
    group: int,
    shape: Sequence[int],
) -> torch.Tensor:
    """The float32 weight of `shape` from packed codes (outputs, columns) and a scale for each `group` of them."""
    indices = unpacked(packed, bits, columns).to(torch.int32)
    values = functional.embedding(indices, table.unsqueeze(1)).squeeze(-1)
    rows = (values.reshape(values.shape[0], -1, group) * scales.unsqueeze(-1)).reshape(values.shape)
    used = int(torch.Size(shape[1:]).numel())
    return rows[:, :used].reshape(shape)
