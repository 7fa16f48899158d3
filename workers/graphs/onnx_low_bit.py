"""What ONNX Runtime makes of the low-bit weights in a program: layer by layer, the fastest that computes the same.

1. A layer with a low-bit weight gets an operator that reads the codes, where its rules find one worth while.
2. Any other low-bit weight, and every fp8 and nf4 weight, is packed in the file and unpacked when the file is loaded;
   its layers compute in float.
3. An input rounded row by row goes to the operator unrounded if that rounds by itself, at least as finely. What
   rounding is left is spelled out in standard operators.
4. A layer counts as rounding its input if its input passes through `round_input`; a convolution, whose input has no
   rows to round, if any other layer of the program does.

What is chosen depends on shapes, weights and the target's batch alone, so the same program gives the same file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from workers.graphs.convolution_geometry import CONVOLUTIONS
from workers.graphs.low_bit import LowBitWeight, dynamic_source, read_weight
from workers.graphs.low_bit_layers import Ways, layer_reading, owner_of
from workers.graphs.onnx_convolutions import lower_convolution
from workers.graphs.onnx_embeddings import lower_embedding
from workers.graphs.onnx_matmul_nbits import lower_linear
from workers.graphs.onnx_recurrent import RECURRENT, lower_recurrent
from workers.graphs.onnx_sites import Site, Sizes
from workers.graphs.onnx_storage import float_rows, packed_codes, packed_zeros
from workers.graphs.onnx_tables import read_few_bit_float, store_few_bit_float
from workers.graphs.reexport import reexport

__all__ = ["lower_low_bit"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed


def lower_low_bit(
    program: ExportedProgram, batch: int, example: Sequence[torch.Tensor]
) -> tuple[ExportedProgram, Ways]:
    """The program with ONNX Runtime's operators in it, for `torch.onnx.export`.

    Args:
        batch: at which the model is to be fast.
        example: as for `reexport`.

    Returns:
        the program, and how its layers with few-bit weights compute; the program itself and nothing
        if it has no few-bit weights and no inputs rounded row by row.
    """
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    if not any(_is_few_bit(module, node) for node in module.graph.nodes):
        return program, Ways()
    module = copy.deepcopy(module)
    sizes = Sizes(program, batch)
    dynamic = any(dynamic_source(node) is not None for node in module.graph.nodes)
    ways = Ways()
    for node in list(module.graph.nodes):
        name = layer_reading(node)
        if name is None:
            continue
        way = _lower(Site(module, node, sizes), dynamic)
        ways.add(way or "stored in few bits, computed in float", name)
    for name in _store_the_rest(module, sizes):
        ways.add("stored as fp8 or nf4, computed in float", name)
    _spell_out_rounding(module, sizes)
    module.graph.eliminate_dead_code()
    module.recompile()
    return reexport(module, program, example), ways


def _lower(site: Site, dynamic: bool) -> str | None:
    """Rule 1 for one layer."""
    node = site.node
    if node.target in RECURRENT:
        return lower_recurrent(site, dynamic_source(node.args[0]))
    index = 0 if node.target is aten.embedding.default else 1
    weight = read_weight(site.module, node.args[index]) if len(node.args) > index else None
    if weight is None:
        return None
    if node.target is aten.embedding.default:
        return lower_embedding(site, weight)
    if node.target is aten.linear.default:
        return lower_linear(site, weight, dynamic_source(node.args[0]))
    if node.target in CONVOLUTIONS and dynamic:
        return lower_convolution(site, weight)
    return None


def _store_the_rest(module: GraphModule, sizes: Sizes) -> Iterator[str]:
    """Rule 2. Gives the names of layers with fp8 or nf4 weights."""
    module.graph.eliminate_dead_code()
    for node in list(module.graph.nodes):
        if node.target is ops.dequantize_per_channel_group.default:
            weight = read_weight(module, node)
            assert weight is not None
            _store(Site(module, node, sizes), weight)
        elif (few_bit_float := read_few_bit_float(module, node)) is not None:
            yield owner_of(node)
            store_few_bit_float(Site(module, node, sizes), few_bit_float)


def _store(site: Site, weight: LowBitWeight) -> None:
    constants = [
        site.constant("packed", packed_codes(weight)),
        site.constant("scales", weight.scales.float()),
        site.constant("zeros", packed_zeros(weight)),
    ]
    site.replace(float_rows, *constants, weight.stored_bits, weight.codes.shape[1], weight.group)


def _spell_out_rounding(module: GraphModule, sizes: Sizes) -> None:
    """Rule 3."""
    for node in list(module.graph.nodes):
        source = dynamic_source(node)
        if source is not None:
            Site(module, node, sizes).replace(round_rows, source)


def round_rows(x: torch.Tensor) -> torch.Tensor:
    """`x` with each row along the last dimension in 256 levels between its extremes, zero among them."""
    least, most = x.amin(-1, keepdim=True).clamp(max=0.0), x.amax(-1, keepdim=True).clamp(min=0.0)
    step = ((most - least) / 255).clamp(min=torch.finfo(torch.float32).eps)
    zero = (-128 - least / step).round().clamp(-128, 127)
    return ((x / step).round().add(zero).clamp(-128, 127) - zero) * step


def _is_few_bit(module: GraphModule, node: Node) -> bool:
    return (
        node.target is ops.dequantize_per_channel_group.default
        or dynamic_source(node) is not None
        or read_few_bit_float(module, node) is not None
    )
