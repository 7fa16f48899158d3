"""Half precision: the whole program in bfloat16 or float16 between its float32 inputs and outputs."""

from __future__ import annotations

import copy

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from burnish.passes import Quantize
from burnish.results import LayerTreatment
from workers.graphs.folded_norms import fold_batch_norms
from workers.graphs.half_precision import has_submodules, make_half
from workers.graphs.reexport import reexport
from workers.graphs.type_checks import drop_type_checks
from workers.passes.base import PassContext
from workers.passes.calibration import batches
from workers.passes.quantize_layers import Layer, find_layers, named_kind, stored
from workers.passes.weight_forms import ratio_db

__all__ = ["half_reasons", "quantize_half"]

_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def half_reasons(module: GraphModule, settings: Quantize) -> list[str]:
    """Why a program can't be converted at all."""
    if has_submodules(module):
        return [
            f"The program has control flow (`cond`, `while_loop`), whose branches are not converted to "
            f"{settings.weights}. Use integer weights."
        ]
    if not any(_reason(module, layer, settings) is None for layer in find_layers(module)):
        return [
            f"The model has no layer with float32 weights that {settings.weights} would make smaller. Leave `quantize` "
            "out of the recipe."
        ]
    return []


def quantize_half(
    program: ExportedProgram, settings: Quantize, context: PassContext
) -> tuple[ExportedProgram, dict[str, LayerTreatment], dict[str, str]]:
    """Treats the whole program.

    Returns:
        the program, the treated layers, and why others were left alone.
    """
    # A deep copy, because converting the module would convert the parameters that it shares with `program`.
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    fold_batch_norms(module)
    layers = find_layers(module)
    reasons = {layer.name: _reason(module, layer, settings) for layer in layers}
    treated = {layer.name: _treatment(module, layer, settings) for layer in layers if reasons[layer.name] is None}
    keep = [call for layer in layers if reasons[layer.name] is not None and layer.weights for call in layer.calls]
    make_half(module, _TYPES[settings.weights], keep)
    context.progress(0.9, "exporting")
    made = reexport(module, program, next(batches(context.calibration, program)))
    drop_type_checks(made.graph)
    return made, treated, {name: reason for name, reason in reasons.items() if reason is not None}


def _reason(module: GraphModule, layer: Layer, settings: Quantize) -> str | None:
    if layer.kind == "other":
        return f"it has no weights; it computes in {settings.weights}"
    if layer.reason is not None:
        return layer.reason
    if named_kind(layer, settings) == "float32":
        return "the settings leave it alone"
    most = torch.finfo(_TYPES[settings.weights]).max
    if any(float(stored(module, node).abs().max()) > most for node in layer.weights):
        return f"a weight is beyond {most:g}, the greatest number of {settings.weights}"
    return None


def _treatment(module: GraphModule, layer: Layer, settings: Quantize) -> LayerTreatment:
    dtype = _TYPES[settings.weights]
    weights = [stored(module, node) for node in layer.weights]
    how = f"weights and arithmetic in {settings.weights}"
    if layer.kind == "recurrent":
        how = f"weights stored in {settings.weights}; it computes in float32, since few backends run it otherwise"
    return LayerTreatment(
        layer=layer.name,
        treatment=settings.weights,
        reason=how,
        bytes_before=sum(weight.numel() * weight.element_size() for weight in weights),
        bytes_after=sum(2 * weight.numel() for weight in weights),
        error_db=ratio_db([(weight, weight.to(dtype).float()) for weight in weights]),
    )
