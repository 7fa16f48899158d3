"""Weights stored as few-bit floats in a graph: the forms beside `low_bit.py`, on standard operators, too.

*fp8*, float8 e4m3 with a scale for each output channel:

    codes (float8_e4m3fn) ─ aten.to.dtype(float32) ─ aten.mul ─ the layer
    scales (f32, outputs × 1 × …) ───────────────────┘

*nf4*, one of 16 levels for each weight, with a scale for each group of neighbours in a row:

    levels (f32, 16) ────────────────────┐
    codes (int8) ─ aten.to.dtype(int32) ─┴ aten.index ─ view (outputs, groups, group) ─ aten.mul ─ view (outputs,
    columns) ─ [slice] ─ view (shape) ─ the layer           scales (f32, outputs × groups × 1) ─┘

Codes of both have a byte each here; a backend packs those of nf4, two to a byte. The slice cuts the columns that were
added to fill the last group.

Micikevicius et al., 2022: FP8 Formats for Deep Learning, arXiv:2209.05433. Dettmers et al., 2023: QLoRA,
arXiv:2305.14314.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch.fx import GraphModule, Node

from workers.graphs.low_bit import constant_node
from workers.graphs.stored_values import stored_tensor

__all__ = [
    "FP8_MOST",
    "NF4_LEVELS",
    "Fp8Weight",
    "Nf4Weight",
    "fp8_nodes",
    "nearest_fp8",
    "nearest_nf4",
    "nf4_nodes",
    "read_fp8",
    "read_nf4",
    "write_fp8",
    "write_nf4",
]

aten = torch.ops.aten

NF4_LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""Quantiles of the normal distribution, scaled to [-1, 1], with zero among them (QLoRA, appendix E)."""
FP8_MOST = torch.finfo(torch.float8_e4m3fn).max
_TABLE = "nf4_levels"


def nearest_fp8(values: torch.Tensor) -> torch.Tensor:
    """float8 e4m3 of values that were divided by their scales."""
    return values.clamp(-FP8_MOST, FP8_MOST).to(torch.float8_e4m3fn)


def nearest_nf4(values: torch.Tensor) -> torch.Tensor:
    """int8 numbers of the levels nearest to values that were divided by their scales."""
    levels = torch.tensor(NF4_LEVELS, dtype=torch.float64)
    middles = ((levels[1:] + levels[:-1]) / 2).float()
    return torch.bucketize(values, middles).to(torch.int8)


@dataclass(frozen=True)
class Fp8Weight:
    """A weight in float8 e4m3."""

    codes: torch.Tensor
    """float8_e4m3fn, in the weight's shape."""
    scales: torch.Tensor
    """float32 of shape (outputs, 1, …)."""

    @property
    def packed_bytes(self) -> int:
        """Of codes and scales."""
        return self.codes.numel() + 4 * self.scales.numel()

    def dequantized(self) -> torch.Tensor:
        """The float32 weight."""
        return self.codes.to(torch.float32) * self.scales


@dataclass(frozen=True)
class Nf4Weight:
    """A weight as levels of nf4."""

    codes: torch.Tensor
    """int8 of shape (outputs, columns): 0 … 15."""
    scales: torch.Tensor
    """float32 of shape (outputs, columns / group): the greatest magnitude of the group."""
    shape: tuple[int, ...]
    """Of the weight as the layer reads it; the product of all but the first is at most `columns`."""

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return int(self.codes.shape[1] // self.scales.shape[1])

    @property
    def columns_used(self) -> int:
        """Columns without those that fill the last group."""
        return int(torch.Size(self.shape[1:]).numel())

    @property
    def packed_bytes(self) -> int:
        """Of the codes, two to a byte, without the columns that fill the last group, and the scales."""
        return -(-self.codes.shape[0] * self.columns_used // 2) + 4 * self.scales.numel()

    def dequantized(self) -> torch.Tensor:
        """The float32 weight, of shape `shape`."""
        levels = torch.tensor(NF4_LEVELS)[self.codes.to(torch.int32)]
        rows = levels.reshape(*self.scales.shape, self.group) * self.scales[..., None]
        return rows.reshape(self.codes.shape)[:, : self.columns_used].reshape(self.shape)


def write_fp8(module: GraphModule, node: Node, weight: Fp8Weight) -> Node:
    """Puts the form in the place of `node`, a weight's `get_attr`; returns the node that gives the weight."""
    codes = constant_node(module, node, f"{node.target}_codes", weight.codes)
    scales = constant_node(module, codes, f"{node.target}_scales", weight.scales)
    last = _call(module, scales, aten.to.dtype, (codes, torch.float32))
    return _replace(module, node, _call(module, last, aten.mul.Tensor, (last, scales)))


def read_fp8(module: GraphModule, node: object) -> Fp8Weight | None:
    """The form behind `node`, the argument that a layer reads its weight from; `None` if it has another."""
    found = fp8_nodes(module, node)
    return None if found is None else Fp8Weight(*(stored_tensor(module, each) for each in found))


def fp8_nodes(module: GraphModule, product: object) -> tuple[Node, Node] | None:
    """Codes and scales of the fp8 weight that `product` computes; `None` if it computes something else."""
    codes, scales = _source(_source(product, aten.mul.Tensor), aten.to.dtype), _argument(product, 1)
    if not _is_stored(codes) or not _is_stored(scales):
        return None
    return (codes, scales) if stored_tensor(module, codes).dtype is torch.float8_e4m3fn else None


def write_nf4(module: GraphModule, node: Node, weight: Nf4Weight) -> Node:
    """Puts the form in the place of `node`, a weight's `get_attr`; returns the node that gives the weight."""
    codes = constant_node(module, node, f"{node.target}_codes", weight.codes)
    scales = constant_node(module, codes, f"{node.target}_scales", weight.scales[..., None])
    table = constant_node(module, scales, _TABLE, torch.tensor(NF4_LEVELS))
    last = _call(module, table, aten.to.dtype, (codes, torch.int32))
    last = _call(module, last, aten.index.Tensor, (table, [last]))
    last = _call(module, last, aten.view.default, (last, [*weight.scales.shape, weight.group]))
    last = _call(module, last, aten.mul.Tensor, (last, scales))
    last = _call(module, last, aten.view.default, (last, list(weight.codes.shape)))
    if weight.columns_used != weight.codes.shape[1]:
        last = _call(module, last, aten.slice.Tensor, (last, 1, 0, weight.columns_used))
    return _replace(module, node, _call(module, last, aten.view.default, (last, list(weight.shape))))


def read_nf4(module: GraphModule, node: object) -> Nf4Weight | None:
    """The form behind `node`, the argument that a layer reads its weight from; `None` if it has another."""
    rows = _source(node, aten.view.default)
    rows = _source(rows, aten.slice.Tensor) or rows
    found = nf4_nodes(module, _source(rows, aten.view.default))
    if found is None:
        return None
    codes, scales = (stored_tensor(module, each) for each in found)
    shape = _argument(node, 1)
    assert isinstance(shape, Sequence)
    return Nf4Weight(codes, scales[..., 0], tuple(int(side) for side in shape))


def nf4_nodes(module: GraphModule, product: object) -> tuple[Node, Node] | None:
    """Codes and scales of the nf4 weight that `product` computes, group by group; `None` if it is something else."""
    looked_up = _source(_source(product, aten.mul.Tensor), aten.view.default)
    table, codes, scales = _source(looked_up, aten.index.Tensor), _index(looked_up), _argument(product, 1)
    if not (_is_stored(table) and _is_stored(codes) and _is_stored(scales)):
        return None
    return (codes, scales) if torch.equal(stored_tensor(module, table), torch.tensor(NF4_LEVELS)) else None


def _index(node: object) -> object:
    """The codes that a look-up reads, before they became int32."""
    indices = _argument(node, 1)
    return _source(indices[0], aten.to.dtype) if isinstance(indices, Sequence) and indices else None


def _source(node: object, target: object) -> object:
    """What `node` reads first, if it calls `target`."""
    return node.args[0] if isinstance(node, Node) and node.target is target else None


def _argument(node: object, index: int) -> object:
    return node.args[index] if isinstance(node, Node) and len(node.args) > index else None


def _is_stored(node: object) -> TypeGuard[Node]:
    return isinstance(node, Node) and node.op == "get_attr"


def _call(module: GraphModule, after: Node, target: Any, arguments: tuple[Any, ...]) -> Node:
    with module.graph.inserting_after(after):
        return module.graph.call_function(target, arguments)


def _replace(module: GraphModule, node: Node, by: Node) -> Node:
    node.replace_all_uses_with(by)
    module.graph.erase_node(node)
    return by
