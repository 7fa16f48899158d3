"""Static int8: weights per output channel, activations per tensor with ranges from the calibration data."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from burnish.passes import Quantize
from burnish.results import LayerTreatment
from workers.graphs.affine_batch_norms import make_batch_norms_affine
from workers.graphs.folded_norms import fold_batch_norms
from workers.graphs.int8_annotations import CONVOLUTIONS, LINEARS, Int8Annotations
from workers.graphs.reexport import reexport
from workers.passes.base import PassContext
from workers.passes.calibration import batches
from workers.passes.quantize_layers import Layer, layer_name

__all__ = ["quantize_static", "static_reason"]

_REASONS = {
    "recurrent": "recurrent: static int8 has no kernel for it; `activations: dynamic` stores its weights in int8",
    "embedding": "a table look-up: nothing is computed; `embeddings: true` stores it in int8",
    "convolution": "no int8 kernel for three-dimensional convolutions in Inductor",
}


def static_reason(layer: Layer) -> str | None:
    """Why the layer stays in float under static int8; `None` if it can be treated."""
    if layer.kind == "other":
        return layer.reason
    calls = [node for node in layer.calls if node.target in CONVOLUTIONS | LINEARS]
    if not calls:
        return _REASONS.get(layer.kind, layer.reason)
    return next((reason for node in calls if (reason := _call_reason(node)) is not None), None)


def quantize_static(
    program: ExportedProgram, names: frozenset[str], settings: Quantize, context: PassContext, weight_bits: int
) -> tuple[ExportedProgram, dict[str, LayerTreatment]]:
    """Treats the layers of those names.

    1. Batch norms are folded into the convolutions before them.
    2. The tensors to quantize are chosen by `workers/graphs/int8_annotations.py`, and observed over the calibration
       samples.
    3. They become pairs of `quantized_decomposed.quantize_*` and `dequantize_*`, the weights int8 constants: a form
       that all backends lower to integer kernels, and that eager PyTorch computes too (slowly, as the reference).
    """
    # A deep copy, because folding and observing change the module, which shares its weights with `program`.
    module = copy.deepcopy(program.module(check_guards=False))
    fold_batch_norms(module)
    make_batch_norms_affine(module)
    treated = {
        node.name: layer_name(node)
        for node in module.graph.nodes
        if node.target in CONVOLUTIONS | LINEARS and layer_name(node) in names and _call_reason(node) is None
    }
    prepared = prepare_pt2e(module, Int8Annotations(frozenset(treated), settings.calibration, weight_bits))
    _calibrate(prepared, program, context)
    context.progress(0.9, "exporting")
    example = next(batches(context.calibration, program))
    quantized = reexport(convert_pt2e(prepared), program, example)
    return quantized, {name: _treatment(name, weight_bits) for name in treated.values()}


def _call_reason(node: Node) -> str | None:
    source, weight = node.args[:2]
    if not isinstance(weight, Node) or weight.op != "get_attr" or not isinstance(source, Node):
        return "its weights are computed, not stored"
    if weight.meta["val"].dtype is not torch.float32 or source.meta["val"].dtype is not torch.float32:
        return f"its weights are {weight.meta['val'].dtype}, and only float32 is quantized".replace("torch.", "")
    return None


def _treatment(name: str, weight_bits: int) -> LayerTreatment:
    how = "weights per output channel, activations per tensor, calibrated"
    if weight_bits == 7:
        how += "; weights use 7 bits, since the int8 kernels of this machine saturate"
    return LayerTreatment(layer=name, treatment="int8", reason=how)


def _calibrate(prepared: Callable[..., object], program: ExportedProgram, context: PassContext) -> None:
    total, seen = len(context.calibration), 0
    with torch.no_grad():
        for batch in batches(context.calibration, program):
            prepared(*batch)
            seen += len(batch[0])
            context.progress(0.9 * min(seen / total, 1.0), f"calibrating: {min(seen, total)} of {total} samples")
