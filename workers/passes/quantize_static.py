"""Static int8: weights per output channel or layer, activations per tensor with ranges from the calibration data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from burnish.passes import Quantize
from burnish.results import LayerTreatment
from workers.graphs.affine_batch_norms import make_batch_norms_affine
from workers.graphs.folded_norms import fold_batch_norms
from workers.graphs.int8_annotations import CONVOLUTIONS, LINEARS, Int8Annotations
from workers.graphs.reexport import reexport
from workers.graphs.stored_values import stored_tensor
from workers.passes.base import PassContext
from workers.passes.bias_correction import correct_bias, mean_error
from workers.passes.calibration import batches
from workers.passes.input_moments import Moments, input_moments
from workers.passes.quantize_layers import Layer, layer_name
from workers.passes.weight_forms import ratio_db

__all__ = ["quantize_static", "static_reason"]

_TREATED = CONVOLUTIONS | LINEARS
_REASONS = {
    "recurrent": "recurrent: static int8 has no kernel for it; `activations: dynamic` stores its weights in int8",
    "convolution": "no int8 kernel for three-dimensional convolutions in Inductor",
}


def static_reason(layer: Layer) -> str | None:
    """Why the layer stays in float under static int8; `None` if it can be treated."""
    calls = [node for node in layer.calls if node.target in _TREATED]
    if not calls:
        return _REASONS.get(layer.kind, layer.reason)
    return next((reason for node in calls if (reason := _call_reason(node)) is not None), None)


def quantize_static(
    program: ExportedProgram, names: frozenset[str], settings: Quantize, context: PassContext, narrow: bool
) -> tuple[ExportedProgram, dict[str, LayerTreatment]]:
    """Treats the layers of those names.

    1. Batch norms are folded into the convolutions before them.
    2. The tensors to quantize are chosen by `workers/graphs/int8_annotations.py`, and observed over the calibration
       samples.
    3. They become pairs of `quantized_decomposed.quantize_*` and `dequantize_*`, the weights int8 constants: a form
       that all backends lower to integer kernels, and that eager PyTorch computes too (slowly, as the reference).
    4. Biases are corrected, where asked for, by the means of the layers' inputs in the program of step 1.

    Args:
        narrow: weights get 7 bits.
    """
    # A deep copy, because folding and observing change the module, which shares its weights with `program`.
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    fold_batch_norms(module)
    make_batch_norms_affine(module)
    calls = [node for node in module.graph.nodes if node.target in _TREATED and _is_chosen(node, names)]
    owners = [layer_name(node) for node in calls]
    weights = [stored_tensor(module, node.args[1]).detach().clone() for node in calls]
    inputs = _inputs(module, program, calls, context) if settings.bias_correction else {}
    seen = [inputs.get(str(node.args[1].target)) for node in calls]
    chosen = frozenset(node.name for node in calls)
    prepared = prepare_pt2e(module, Int8Annotations(chosen, settings.calibration, 7 if narrow else 8))
    _calibrate(prepared, program, context)
    converted = convert_pt2e(prepared)
    treated: dict[str, LayerTreatment] = {}
    for call, name, weight, moments in zip(_converted(converted), owners, weights, seen, strict=True):
        treated[name] = _treat(converted, call, name, weight, moments, narrow)
    context.progress(0.9, "exporting")
    converted.graph.eliminate_dead_code()
    converted.recompile()
    return reexport(converted, program, next(batches(context.calibration, program))), treated


def _is_chosen(node: Node, names: frozenset[str]) -> bool:
    return layer_name(node) in names and _call_reason(node) is None


def _call_reason(node: Node) -> str | None:
    source, weight = node.args[:2]
    if not isinstance(weight, Node) or weight.op != "get_attr" or not isinstance(source, Node):
        return "its weights are computed, not stored"
    if weight.meta["val"].dtype is not torch.float32 or source.meta["val"].dtype is not torch.float32:
        return f"its weights are {weight.meta['val'].dtype}, not float32".replace("torch.", "")
    return None


def _inputs(
    module: GraphModule, program: ExportedProgram, calls: list[Node], context: PassContext
) -> Mapping[str, Moments]:
    context.progress(0.0, "observing the means of inputs")
    return input_moments(module, program, calls, context.calibration, False, lambda share: None)


def _converted(module: GraphModule) -> list[Node]:
    """The calls that read int8 weights, in the order of the graph, which conversion keeps."""
    per_channel = torch.ops.quantized_decomposed.dequantize_per_channel.default
    return [
        node
        for node in module.graph.nodes
        if node.target in _TREATED and isinstance(node.args[1], Node) and node.args[1].target is per_channel
    ]


def _treat(
    module: GraphModule, call: Node, name: str, weight: torch.Tensor, seen: Moments | None, narrow: bool
) -> LayerTreatment:
    source = call.args[1]
    assert isinstance(source, Node)
    codes, scales = (stored_tensor(module, argument) for argument in source.args[:2])
    rounded = codes.float() * scales.float().reshape(-1, *[1] * (codes.dim() - 1))
    shared = scales.numel() > 1 and bool((scales == scales[0]).all())
    how = f"weights {'on one scale' if shared else 'per output channel'}, activations per tensor, calibrated"
    if narrow:
        how += "; weights use 7 bits, since the int8 kernels of this machine saturate"
    if seen is not None and correct_bias(module, [call], {source: mean_error(weight, rounded, seen.mean)}):
        how += "; bias corrected"
    return LayerTreatment(
        layer=name,
        treatment="int8",
        reason=how,
        bytes_before=weight.numel() * weight.element_size(),
        bytes_after=codes.numel() + 4 * scales.numel(),
        error_db=ratio_db([(weight, rounded)]),
    )


def _calibrate(prepared: Callable[..., object], program: ExportedProgram, context: PassContext) -> None:
    total, seen = len(context.calibration), 0
    with torch.no_grad():
        for batch in batches(context.calibration, program):
            prepared(*batch)
            seen += len(batch[0])
            context.progress(0.9 * min(seen / total, 1.0), f"calibrating: {min(seen, total)} of {total} samples")
