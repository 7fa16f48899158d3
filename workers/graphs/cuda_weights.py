"""Quantized and sparse layers rewritten for CUDA, before Inductor lowers them.

| layer | becomes |
| --- | --- |
| linear, input rounded row by row, 8-bit weights with one scale per output | `_int_mm`, int8 tensor cores |
| linear, input rounded row by row, 3- or 4-bit weights in groups of 32 and more | `_weight_int4pack_mm`, bfloat16 |
| linear, input rounded row by row, all others | weights unpacked in the graph, a bfloat16 product |
| linear under static int8 | `_int_mm`, with the ranges of the program |
| linear with a float input, convolution, recurrent layer | weights unpacked in the graph, float32 as before |
| embedding | packed rows looked up, then unpacked |
| linear in half precision whose weight has two zeros in each four | `_cslt_sparse_mm`, sparse tensor cores |

bfloat16 stands in for rounding an input to int8: it has as many bits and a scale for each number. Where the program
computes in float32, it still does. Static int8 convolutions are refused: torch has no kernel for them on CUDA.

Weights are packed here, once. What unpacks them must not be folded: the backend compiles such a program without
freezing, and then Inductor computes nothing from weights beforehand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from workers.graphs import cuda_packing as packing
from workers.graphs import cuda_products as products
from workers.graphs.device import Card
from workers.graphs.half_precision import RECURRENT
from workers.graphs.low_bit import LowBitWeight, constant_node, dynamic_source, read_weight
from workers.graphs.low_bit_floats import NF4_LEVELS, Nf4Weight, read_fp8, read_nf4
from workers.graphs.low_bit_layers import Ways, codes_behind, owner_of
from workers.graphs.reexport import reexport
from workers.graphs.stored_values import stored_tensor
from workers.graphs.type_checks import drop_type_checks

__all__ = ["ForCuda", "cuda_refusals", "for_cuda"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed

_GROUPED = ops.dequantize_per_channel_group.default
_CHANNEL = ops.dequantize_per_channel.default
_CONVOLUTIONS = frozenset({"conv1d", "conv2d", "conv3d"})
_HALVES = (torch.bfloat16, torch.float16)
_FP8_CAPABILITY = (8, 9)

_OPTIONS = {
    # Else what unpacks a weight is computed once, and the package holds the float weight.
    "freezing": False,
    # Matrix products in Triton are tried beside cuBLAS, timed on the card: they can unpack the weights that they read.
    "max_autotune_gemm": True,
}

_INT8 = "int8 products (`_int_mm`), each row of the input rounded as it comes"
_STATIC = "int8 products (`_int_mm`), calibrated ranges"
_INT4 = "4-bit weights on tensor cores (`_weight_int4pack_mm`), the input in bfloat16 instead of int8"
_HALF = "weights stay packed and are unpacked for a bfloat16 product, the input in bfloat16 instead of int8"
_WIDE = "weights stay packed and are unpacked for float32 arithmetic"
_ROWS = "rows stay packed until they are looked up"
_SPARSE = "2:4 sparse tensor cores (`_cslt_sparse_mm`)"
_FULL = (
    "2:4 zeros are multiplied like any number: sparse tensor cores need `quantize: {weights: bfloat16}` after `prune`"
)
_NO_SPARSE = "2:4 zeros are multiplied like any number: this card or this build of torch lacks sparse tensor cores"


@dataclass(frozen=True)
class ForCuda:
    """What the rewrite made of a program."""

    program: ExportedProgram
    ways: Ways
    left: Ways
    """For each reason why weights with zeros stay dense, the layers."""

    @property
    def notes(self) -> list[str]:
        """For the report."""
        return [*self.ways.notes, *self.left.notes]

    @property
    def options(self) -> dict[str, Any]:
        """Settings of Inductor that go with it."""
        return dict(_OPTIONS) if self.ways else {}


def cuda_refusals(program: ExportedProgram, card: Card) -> list[str]:
    """Why the quantized layers of a program can't run on the card; empty: they can."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    nodes = list(module.graph.nodes)
    static = [_static_owner(each) for each in nodes if _operator(each) in _CONVOLUTIONS and _is_static(each.args[1])]
    reasons = []
    if static:
        reasons.append(
            f"torch has no int8 convolution for CUDA: {_listed(static)} would be widened to float32, slower than "
            "before. Use `quantize: {weights: bfloat16}`, or keep these layers as they are: `layers: {…: float32}`."
        )
    if card.capability < _FP8_CAPABILITY:
        few = list(dict.fromkeys(owner_of(each) for each in nodes if read_fp8(module, each)))
        if few:
            reasons.append(
                f"fp8 weights need a card of compute capability 8.9, and this one has {card}: {_listed(few)}. "
                "Use int8 or int4 weights."
            )
    return reasons


def for_cuda(program: ExportedProgram, card: Card, example: Sequence[torch.Tensor], device: str = "cuda") -> ForCuda:
    """The program with the layers of the table in their place; the program itself if it has none of them.

    The program that is given and the one that comes back are on the processor; weights visit `device` where its own
    kernels lay them out.

    Args:
        example: one tensor per input, to export with.
    """
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    rewriting = _Rewriting(module, card, device)
    for node in list(module.graph.nodes):
        rewriting.visit(node)
    if not rewriting.ways:
        return ForCuda(program, Ways(), rewriting.left)
    for node in list(module.graph.nodes):
        rewriting.unpack(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    made = reexport(module, program, example)
    drop_type_checks(made.graph)
    return ForCuda(made, rewriting.ways, rewriting.left)


class _Rewriting:
    def __init__(self, module: GraphModule, card: Card, device: str) -> None:
        self.module, self.card, self.device = module, card, device
        self.ways, self.left = Ways(), Ways()

    def visit(self, node: Node) -> None:
        """Treats the layers that have a function of their own, and notes the way of all others."""
        if node.target is aten.linear.default:
            self._visit_linear(node)
        elif node.target is aten.embedding.default:
            self._visit_embedding(node)
        for source in _kernels(node):
            if any(read(self.module, source) for read in (read_weight, read_nf4, read_fp8)):
                self.ways.add(_WIDE, owner_of(source))

    def unpack(self, node: Node) -> None:
        """What is left: forms that others read are unpacked where they stand; rounded inputs are read as they were."""
        source = dynamic_source(node)
        if source is not None:
            node.replace_all_uses_with(source)
        elif node.target is _GROUPED and node.users:
            weight = read_weight(self.module, node)
            assert weight is not None
            self._replace(node, products.grouped_weight, [*self._parts(node, node, weight), weight.codes.shape[1]])
        elif node.users and (form := read_nf4(self.module, node)) is not None:
            self._replace(node, products.level_weight, [*self._nf4_parts(node, node, form), list(form.shape)])

    def _visit_linear(self, node: Node) -> None:
        source, weight = node.args[0], node.args[1]
        bias = node.args[2] if len(node.args) > 2 else None
        if _is_static(weight) and _is_static(source):
            self._static_linear(node, bias)
        elif (form := read_weight(self.module, weight)) is not None:
            x = dynamic_source(source)
            self._low_bit_linear(node, weight, form, x, bias)
        elif read_nf4(self.module, weight) or read_fp8(self.module, weight):
            self.ways.add(_WIDE, owner_of(weight))
        elif isinstance(weight, Node) and weight.op == "get_attr":
            self._sparse_linear(node, source, weight, bias)

    def _low_bit_linear(self, node: Node, weight: Any, form: LowBitWeight, x: Node | None, bias: Any) -> None:
        name, outputs, cores = owner_of(weight), form.shape[0], self.card.tensor_cores
        group = packing.tile_group(form)
        if x is None or (not cores and form.bits < 8):
            self.ways.add(_WIDE, name)
        elif form.bits == 8 and form.scales.shape[1] == 1:
            self.ways.add(_INT8, name)
            codes = form.codes[:, : form.columns_used]
            rows = packing.int8_rows(codes, form.scales, form.zeros)
            parts = self._constants(
                node, f"{codes_behind(weight).target}_int8_", [rows.codes, rows.scales, rows.zeros, rows.sums]
            )
            self._replace(node, products.int8_linear, [x, *parts, bias, outputs])
        elif form.bits in (3, 4) and group is not None:
            self.ways.add(_INT4, name)
            laid = packing.int4_tiles(form, group, self.device)
            parts = self._constants(node, f"{codes_behind(weight).target}_int4_", [laid.tiles, laid.scales_and_zeros])
            self._replace(node, products.int4_linear, [x, *parts, bias, group, laid.columns, outputs])
        elif cores:
            self.ways.add(_HALF, name)
            self._replace(node, products.linear_in_bfloat16, [x, weight, bias])
        else:
            self.ways.add(_WIDE, name)

    def _static_linear(self, node: Node, bias: Any) -> None:
        x, weight = node.args[0], node.args[1]
        assert isinstance(x, Node)
        assert isinstance(weight, Node)
        codes, scales = (stored_tensor(self.module, each) for each in weight.args[:2])
        self.ways.add(_STATIC, _static_owner(node))
        rows = packing.int8_rows(codes, scales, None)
        parts = self._constants(node, f"{codes_behind(weight).target}_int8_", [rows.codes, rows.scales, rows.sums])
        self._replace(node, products.int8_static_linear, [*x.args[:3], *parts, bias, codes.shape[0]])

    def _sparse_linear(self, node: Node, source: Any, weight: Node, bias: Any) -> None:
        value = stored_tensor(self.module, weight)
        if not packing.is_2_of_4(value):
            return
        if value.dtype not in _HALVES or not self.card.sparse or not self.card.tensor_cores:
            reason = _FULL if value.dtype not in _HALVES else _NO_SPARSE
            self.left.add(reason, owner_of(weight))
            return
        self.ways.add(_SPARSE, owner_of(weight))
        laid, columns = packing.compress_2_of_4(value.detach(), self.device)
        (part,) = self._constants(node, f"{weight.target}_sparse_", [laid])
        self._replace(node, products.sparse_linear, [source, part, bias, columns, value.shape[0]])

    def _visit_embedding(self, node: Node) -> None:
        table, indices = node.args[0], node.args[1]
        if (form := read_weight(self.module, table)) is not None:
            parts = self._parts(node, table, form)
            self._replace(node, products.embedded, [*parts, form.codes.shape[1], form.shape[1], indices])
        elif (floats := read_nf4(self.module, table)) is not None:
            parts = self._nf4_parts(node, table, floats)
            self._replace(node, products.embedded_levels, [*parts, floats.shape[1], indices])
        else:
            return
        self.ways.add(_ROWS, owner_of(table))

    def _parts(self, before: Node, source: Any, form: LowBitWeight) -> list[Any]:
        """Packed codes, scales, zeros as nodes, and the bits of a code."""
        tensors = [packing.packed_codes(form), form.scales, packing.packed_zeros(form)]
        parts = self._constants(before, f"{codes_behind(source).target}_packed_", tensors)
        return [*parts, form.stored_bits]

    def _nf4_parts(self, before: Node, source: Any, form: Nf4Weight) -> list[Any]:
        """Packed codes, scales and levels as nodes, and the columns."""
        tensors = [packing.packed(form.codes, 4), form.scales, torch.tensor(NF4_LEVELS)]
        return [*self._constants(before, f"{codes_behind(source).target}_packed_", tensors), form.codes.shape[1]]

    def _constants(self, before: Node, name: str, tensors: Sequence[torch.Tensor | None]) -> list[Node | None]:
        return [
            None if tensor is None else constant_node(self.module, before.prev, f"{name}{index}", tensor)
            for index, tensor in enumerate(tensors)
        ]

    def _replace(self, node: Node, function: Callable[..., Any], arguments: list[Any]) -> None:
        with self.module.graph.inserting_before(node):
            made = self.module.graph.call_function(function, tuple(arguments))
        node.replace_all_uses_with(made)
        self.module.graph.erase_node(node)


def _kernels(node: Node) -> Iterator[Any]:
    """The arguments that hold the weights of a convolution or a recurrent layer."""
    if _operator(node) in _CONVOLUTIONS:
        yield node.args[1]
    elif _operator(node) in RECURRENT:
        parameters = node.args[2]
        assert isinstance(parameters, list | tuple)
        yield from parameters


def _static_owner(node: Node) -> str:
    """The name of a layer under static int8, whose codes are nameless: that of its bias, else of the call."""
    bias = node.args[2] if len(node.args) > 2 else None
    return (owner_of(bias) if isinstance(bias, Node) and bias.op == "get_attr" else "") or node.name


def _is_static(node: Any) -> bool:
    return isinstance(node, Node) and node.target in (_CHANNEL, ops.dequantize_per_tensor.default)


def _operator(node: Node) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0] if node.op == "call_function" else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
