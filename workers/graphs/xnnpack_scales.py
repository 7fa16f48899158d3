"""Scales of a static int8 program that XNNPACK's kernels take; outside of these, a file is made that can't be loaded.

1. The bias of a layer becomes an int32 with the scale of the products, input by weights. Where a channel's weights are
   so small that it would not fit (after pruning, weights of zero with a bias are common), their scale is raised until
   it does, as in `onnx_bias.py`.
2. The scale of the products over that of the output lies in [2⁻³², 2⁸). Below, the weights' scale is raised; above, as
   where a layer gives next to nothing but zeros, that of the output.
3. The scale of a summand over that of the sum lies in [2⁻¹⁰, 2⁸). Below, the summand is rounded more coarsely; above,
   the sum is.
4. A concatenation, and whatever only picks or moves elements, has one scale for what it reads and what it gives. Where
   they differ, what it reads is rounded to the scale of what it gives, as its result would have been.

Raised scales lose less than a step of the sum they go into.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from workers.graphs.int8_annotations import ADDITIONS, CONVOLUTIONS, EXACT, LINEARS
from workers.graphs.low_bit import constant_node
from workers.graphs.stored_values import stored_tensor
from workers.graphs.xnnpack_static import DEQUANTIZE, QUANTIZE, is_dequantized, reads_int8_weights, rounding_of

__all__ = ["fit_scales"]

aten = torch.ops.aten
ops = torch.ops.quantized_decomposed
_LARGEST_BIAS = 2.0**30
"""Half of int32, so that the sum it starts has room."""
_LEAST_PRODUCT, _LEAST_SUMMAND, _MOST = 2.0**-31, 2.0**-9, 2.0**7
"""Ratios, half of each range away from its ends."""


def fit_scales(module: GraphModule) -> None:
    """Applies the rules to every call that computes in int8, in the order of the graph."""
    for node in list(module.graph.nodes):
        rounding = rounding_of(node)
        sources = [source for source in node.all_input_nodes if is_dequantized(source)]
        if rounding is None or not sources:
            continue
        if node.target in CONVOLUTIONS | LINEARS and reads_int8_weights(node):
            _fit_product(module, node, _scale(sources[0]), rounding)
        elif node.target in ADDITIONS and len(sources) == len(node.all_input_nodes):
            _fit_sum(module, node, sources, rounding)
        elif node.target in EXACT or node.target is aten.cat.default:
            for source in sources:
                _round_again(module, node, source, rounding.args[1:])


def _fit_product(module: GraphModule, layer: Node, scale_in: float, rounding: Node) -> None:
    weight, bias = layer.args[1], layer.args[2] if len(layer.args) > 2 else None
    assert isinstance(weight, Node)
    codes, scales = (stored_tensor(module, each) for each in weight.args[:2])
    _raise(rounding, scale_in * float(scales.max()) / _MOST)
    least = torch.full_like(scales, _scale(rounding) * _LEAST_PRODUCT / scale_in)
    if bias is not None:
        least = torch.maximum(least, stored_tensor(module, bias).detach().abs() / (scale_in * _LARGEST_BIAS))
    if bool((least <= scales).all()):
        return
    raised = torch.maximum(scales, least)
    factors = (scales / raised).reshape(-1, *[1] * (codes.dim() - 1))
    # Behind `weight`, which stands after the zero points.
    new_codes = constant_node(module, weight, f"{layer.name}_fitted_codes", (codes * factors).round().to(torch.int8))
    new_scales = constant_node(module, new_codes, f"{layer.name}_fitted_scales", raised)
    with module.graph.inserting_after(new_scales):
        fitted = module.graph.call_function(weight.target, (new_codes, new_scales, *weight.args[2:]))  # type: ignore[arg-type]
    layer.update_arg(1, fitted)


def _fit_sum(module: GraphModule, addition: Node, sources: list[Node], rounding: Node) -> None:
    _raise(rounding, max(map(_scale, sources)) / _MOST)
    least = _scale(rounding) * _LEAST_SUMMAND
    for source in sources:
        _round_again(module, addition, source, (max(_scale(source), least), *source.args[2:]))


def _scale(node: Node) -> float:
    scale = node.args[1]
    assert isinstance(scale, float)
    return scale


def _raise(rounding: Node, least: float) -> None:
    """Makes the scale of a rounding, and of what stands for its result, at least so large."""
    if _scale(rounding) < least:
        for node in (rounding, *rounding.users):
            node.update_arg(1, least)


def _round_again(module: GraphModule, reader: Node, source: Node, how: tuple[object, ...]) -> None:
    """Lets `reader` read `source` rounded in that way: scale, zero point, bounds, type."""
    if source.args[1:] == tuple(how):
        return
    with module.graph.inserting_after(source):
        codes = module.graph.call_function(QUANTIZE, (source, *how))  # type: ignore[arg-type]
    with module.graph.inserting_after(codes):
        values = module.graph.call_function(DEQUANTIZE, (codes, *how))  # type: ignore[arg-type]
    reader.replace_input_with(source, values)
