"""Half precision: the program in bfloat16 or float16 between its float32 inputs and outputs, and beside int8 layers."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from burnish.errors import InternalError
from burnish.passes import Quantize
from burnish.results import LayerTreatment
from workers.graphs.folded_norms import fold_batch_norms
from workers.graphs.half_precision import has_submodules, make_half
from workers.graphs.reexport import reexport
from workers.graphs.stored_values import attribute, stored_tensor
from workers.graphs.type_checks import drop_type_checks
from workers.passes.base import PassContext
from workers.passes.calibration import batches
from workers.passes.quantize_layers import Layer, find_layers, named_kind
from workers.passes.weight_forms import ratio_db

__all__ = ["HALVES", "float32_weights", "half_reasons", "quantize_half"]

HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def half_reasons(module: GraphModule, settings: Quantize) -> list[str]:
    """Why a program can't be converted at all."""
    if has_submodules(module):
        cure = "Leave `rest` out." if settings.is_static else "Use integer weights."
        return [
            f"The program has parts with graphs of their own (`cond`, `while_loop`, `torch.autocast`), which are not "
            f"converted to {settings.half}. {cure}"
        ]
    if settings.is_static:
        return []
    layers = find_layers(module)
    if not any(float32_weights(module, layer) and _kept(module, layer, settings) is None for layer in layers):
        return [
            f"The model has no layer with float32 weights that {settings.weights} would make smaller. Leave `quantize` "
            "out of the recipe."
        ]
    return []


def quantize_half(
    program: ExportedProgram, settings: Quantize, context: PassContext, done: Collection[str] = ()
) -> tuple[ExportedProgram, dict[str, LayerTreatment], dict[str, str]]:
    """Treats the whole program, but for what computes in int8.

    Args:
        done: names of the layers that do.

    Returns:
        the program, the treated layers, and why others were left alone.
    """
    # A deep copy, because converting the module would convert the parameters that it shares with `program`.
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    fold_batch_norms(module)
    dtype = _dtype(settings)
    layers = [layer for layer in find_layers(module) if layer.name not in done]
    reasons = {layer.name: why for layer in layers if (why := _kept(module, layer, settings)) is not None}
    planned = {layer.name: _treatment(module, layer, settings) for layer in layers if layer.name not in reasons}
    before = {layer.name for layer in layers if _computes_in(layer, dtype)}
    make_half(module, dtype, [call for layer in layers if layer.name in reasons for call in layer.calls])
    halved = {layer.name for layer in layers if _computes_in(layer, dtype)} - before
    context.progress(0.9, "exporting")
    made = reexport(module, program, next(batches(context.calibration, program)))
    drop_type_checks(made.graph)
    for layer in layers:
        if layer.name in planned:
            why = _why_left(layer, planned[layer.name], layer.name in halved, layer.name in before)
            reasons |= {} if why is None else {layer.name: why}
    return made, {name: each for name, each in planned.items() if name not in reasons}, reasons


def float32_weights(module: GraphModule, layer: Layer) -> list[Node]:
    """The matrices that a layer reads as they are stored, whether or not they have a form in few bits."""
    if layer.weights:
        return list(layer.weights)
    found = (node for call in layer.calls for node in call.all_input_nodes if node.op == "get_attr")
    return [
        node
        for node in dict.fromkeys(found)
        if isinstance(value := attribute(module, str(node.target)), torch.nn.Parameter)
        and value.dtype is torch.float32
        and value.dim() > 1
    ]


def _kept(module: GraphModule, layer: Layer, settings: Quantize) -> str | None:
    """Why a layer is kept in float32; `None` if it is not."""
    if named_kind(layer, settings) == "float32":
        return "the settings leave it alone"
    most = torch.finfo(_dtype(settings)).max
    if any(float(stored_tensor(module, node).detach().abs().max()) > most for node in float32_weights(module, layer)):
        return f"a weight is beyond {most:g}, the greatest number of {settings.half}"
    return None


def _dtype(settings: Quantize) -> torch.dtype:
    if settings.half is None:
        raise InternalError(
            "`quantize` was to convert to half precision and was not told to which.",
            cure="Report it with the recipe that led here.",
        )
    return HALVES[settings.half]


def _computes_in(layer: Layer, dtype: torch.dtype) -> bool:
    leaves = (leaf for call in layer.calls for leaf in pytree.tree_leaves(call.meta["val"]))
    return any(isinstance(leaf, torch.Tensor) and leaf.dtype is dtype for leaf in leaves)


def _why_left(layer: Layer, planned: LayerTreatment, halved: bool, was_half: bool) -> str | None:
    """Why a layer counts as left alone, of what the rewrite made of its calls; `None` if it is treated."""
    if layer.kind == "recurrent":
        return layer.reason
    if halved:
        weightless = layer.kind == "other" and planned.bytes_before is None
        return f"it has no weights; it computes in {planned.treatment}" if weightless else None
    if layer.kind != "other":
        return layer.reason
    already = f"it computes in {planned.treatment} already"
    return already if was_half else f"it stays float32 until it meets what computes in {planned.treatment}"


def _treatment(module: GraphModule, layer: Layer, settings: Quantize) -> LayerTreatment:
    dtype, half = _dtype(settings), str(settings.half)
    weights = [stored_tensor(module, node).detach() for node in float32_weights(module, layer)]
    if not weights:
        reason = f"arithmetic in {half}; {layer.reason}"
        return LayerTreatment(layer=layer.name, treatment=half, reason=reason)
    how = f"weights and arithmetic in {half}"
    if layer.kind == "recurrent":
        how = f"weights stored in {half}; it computes in float32, since few backends run it otherwise"
    return LayerTreatment(
        layer=layer.name,
        treatment=half,
        reason=how,
        bytes_before=sum(weight.numel() * weight.element_size() for weight in weights),
        bytes_after=sum(2 * weight.numel() for weight in weights),
        error_db=ratio_db([(weight, weight.to(dtype).float()) for weight in weights]),
    )
