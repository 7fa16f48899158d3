"""Weights stored as small integers in a graph: the form that `quantize` writes and the backends read.

The *low-bit form* of a weight, on standard operators only, so that eager PyTorch computes it as the reference:

    codes (int8) ─┐
    scales (f32) ─┼─ quantized_decomposed.dequantize_per_channel_group ─ [slice] ─ [view] ─ the layer
    zeros (int32) ┘

- `codes`, shape (outputs, columns): integers of `bits` bits, one byte each. A backend packs them in its artifact.
- `scales` and `zeros`, shape (outputs, columns / group): one pair for `group` neighbours in a row; weight =
  (code - zero) * scale. Without `zeros` the codes are symmetric around 0. A scale may be negative: then the code
  without a counterpart (-8 of 4 bits) stands for the greatest weight. Zeros are codes: they lie in their range.
- `group` is a power of two of at least 16, or the row: 8-bit weights have one scale per output channel.
- The slice cuts the columns that were added to fill the last group; the view gives a convolution's weight its shape.
  The first dimension of the weight is `outputs`: linear (out, in), convolution (out, in / groups, …), embedding
  (rows, width), and the matrices of LSTM and GRU (gates, in).

A layer that also *computes* in int8 has its input pass through a pair of `quantize_per_token` and
`dequantize_per_token`: every row along the last dimension gets its range when the model runs.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torchao.quantization.pt2e  # noqa: F401  # registers the operators
from torch.fx import GraphModule, Node

from workers.graphs.stored_values import stored_tensor

__all__ = [
    "LowBitWeight",
    "bits_of",
    "constant_node",
    "dynamic_source",
    "read_weight",
    "round_input",
    "write_weight",
]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed
_LEAST, _MOST = -128, 127
"""Range of a rounded input."""


@dataclass(frozen=True)
class LowBitWeight:
    """A weight as integers with their scales."""

    codes: torch.Tensor
    """int8 of shape (outputs, columns)."""
    scales: torch.Tensor
    """float32 of shape (outputs, columns / group)."""
    zeros: torch.Tensor | None
    """int32 of the same shape, or `None`: symmetric."""
    bits: int
    """2, 3, 4 or 8."""
    group: int
    """Columns that share a scale."""
    shape: tuple[int, ...]
    """Of the weight as the layer reads it; the product of all but the first is at most `columns`."""

    @property
    def code_range(self) -> tuple[int, int]:
        """Least and greatest code: -8 … 7 for 4 bits."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    @property
    def stored_bits(self) -> int:
        """Bits that a code takes in an artifact: one of 3 takes 4, no backend stores it in less."""
        return 4 if self.bits == 3 else self.bits

    @property
    def columns_used(self) -> int:
        """Columns without those that fill the last group."""
        return int(torch.Size(self.shape[1:]).numel())

    @property
    def packed_bytes(self) -> int:
        """Of the codes, packed without the columns that fill the last group, the scales, and zero points as codes."""
        codes = self.codes.shape[0] * self.columns_used + (0 if self.zeros is None else self.zeros.numel())
        return -(-codes * self.stored_bits // 8) + 4 * self.scales.numel()

    def dequantized(self) -> torch.Tensor:
        """The float32 weight, of shape `shape`."""
        return (self._floats()[:, : self.columns_used]).reshape(self.shape)

    def _floats(self) -> torch.Tensor:
        least, most = self.code_range
        found: torch.Tensor = ops.dequantize_per_channel_group.default(
            self.codes, self.scales, self.zeros, least, most, torch.int8, self.group, torch.float32
        )
        return found


def write_weight(module: GraphModule, node: Node, weight: LowBitWeight) -> Node:
    """Puts the low-bit form before the first user of `node`, a weight's `get_attr`, and lets every user read it.

    Returns:
        The node that gives the weight. `node` is gone; its float tensor stays until `drop_unused_state`.
    """
    name = str(node.target)
    least, most = weight.code_range
    codes = constant_node(module, node, f"{name}_codes", weight.codes)
    last = scales = constant_node(module, codes, f"{name}_scales", weight.scales)
    zeros = None
    if weight.zeros is not None:
        last = zeros = constant_node(module, scales, f"{name}_zeros", weight.zeros)
    arguments = (codes, scales, zeros, least, most, torch.int8, weight.group, torch.float32)
    last = _call(module, last, ops.dequantize_per_channel_group.default, arguments)
    if weight.columns_used != weight.codes.shape[1]:
        last = _call(module, last, aten.slice.Tensor, (last, 1, 0, weight.columns_used))
    if len(weight.shape) != 2:
        last = _call(module, last, aten.view.default, (last, list(weight.shape)))
    node.replace_all_uses_with(last)
    module.graph.erase_node(node)
    return last


def read_weight(module: GraphModule, node: object) -> LowBitWeight | None:
    """The low-bit form behind `node`, the argument that a layer reads its weight from; `None` if it has another."""
    view: Sequence[object] | None = None
    end: Sequence[object] | None = None
    if isinstance(node, Node) and node.target is aten.view.default:
        view, node = node.args[1:], node.args[0]
    if isinstance(node, Node) and node.target is aten.slice.Tensor:
        end, node = node.args[3:4], node.args[0]
    if not isinstance(node, Node) or node.target is not ops.dequantize_per_channel_group.default:
        return None
    codes, scales = (stored_tensor(module, argument) for argument in node.args[:2])
    zeros = None if node.args[2] is None else stored_tensor(module, node.args[2])
    columns = int(codes.shape[1])
    return LowBitWeight(
        codes=codes,
        scales=scales,
        zeros=zeros,
        bits=bits_of(_integers(node.args[4:5])[0]),
        group=min(_integers(node.args[6:7])[0], columns),
        shape=(int(codes.shape[0]), *_integers(end or [columns])) if view is None else tuple(_integers(view[0])),
    )


def bits_of(most: int) -> int:
    """Bits of a signed code whose greatest value is `most`."""
    return most.bit_length() + 1


def round_input(module: GraphModule, layer: Node, index: int = 0) -> Node:
    """Lets argument `index` of `layer` pass through int8 with a range for each row, found when the model runs.

    Returns:
        The node that the layer now reads. Layers that read the same tensor share it.
    """
    source = layer.args[index]
    assert isinstance(source, Node)
    rounded = _rounded_already(source) or _round(module, source)
    layer.update_arg(index, rounded)
    return rounded


def dynamic_source(node: object) -> Node | None:
    """The float tensor behind an input rounded by `round_input`; `None` if `node` is not such an input."""
    if not isinstance(node, Node) or node.target is not ops.dequantize_per_token.default:
        return None
    quantized = node.args[0]
    assert isinstance(quantized, Node)
    assert quantized.target is ops.quantize_per_token.default
    source = quantized.args[0]
    assert isinstance(source, Node)
    return source


def _rounded_already(source: Node) -> Node | None:
    quantized = [user for user in source.users if user.target is ops.quantize_per_token.default]
    return next((user for node in quantized for user in node.users if dynamic_source(user) is source), None)


def _round(module: GraphModule, source: Node) -> Node:
    ranges = _call(module, source, ops.choose_qparams_per_token_asymmetric.default, (source, torch.int8))
    scale = _call(module, ranges, operator.getitem, (ranges, 0))
    zero = _call(module, scale, operator.getitem, (ranges, 1))
    bounds = (_LEAST, _MOST, torch.int8)
    codes = _call(module, zero, ops.quantize_per_token.default, (source, scale, zero, *bounds))
    return _call(module, codes, ops.dequantize_per_token.default, (codes, scale, zero, *bounds, torch.float32))


def _call(module: GraphModule, after: Node, target: object, arguments: tuple[object, ...]) -> Node:
    with module.graph.inserting_after(after):
        return module.graph.call_function(target, arguments)  # type: ignore[arg-type]


def constant_node(module: GraphModule, after: Node, name: str, value: torch.Tensor) -> Node:
    """Stores a tensor in `module` and reads it behind `after`."""
    owner, _, attribute = name.rpartition(".")
    module.get_submodule(owner).register_buffer(attribute, value.contiguous())
    with module.graph.inserting_after(after):
        return module.graph.get_attr(name)


def _integers(arguments: object) -> Sequence[int]:
    assert isinstance(arguments, Sequence)
    return [int(each) for each in arguments]
