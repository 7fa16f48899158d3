"""Weights in few bits: every chosen matrix is replaced by its low-bit form, and inputs are rounded where asked."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from burnish.passes import Quantize
from burnish.passes.quantize import BITS
from burnish.results import LayerTreatment
from workers.graphs.folded_norms import fold_batch_norms
from workers.graphs.low_bit import LowBitWeight, round_input, write_weight
from workers.graphs.reexport import reexport
from workers.passes.base import PassContext
from workers.passes.calibration import batches
from workers.passes.quantize_layers import EMBEDDINGS, Layer, find_layers, stored
from workers.passes.round_nearest import round_nearest
from workers.passes.rounding_grid import Rounding

__all__ = ["quantize_weights"]

_NO_ROW = {
    "convolution": "its input stays float: the rows of an image have no range of their own",
    "embedding": "a table look-up: nothing is computed",
}
"""Why the input of a layer is not rounded."""


def quantize_weights(
    program: ExportedProgram, kinds: Mapping[str, str], settings: Quantize, context: PassContext, narrow: bool
) -> tuple[ExportedProgram, dict[str, LayerTreatment]]:
    """Treats the layers named in `kinds`, each as the kind of weights says.

    Args:
        narrow: 8-bit codes that int8 arithmetic reads stay within 7 bits.
    """
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    fold_batch_norms(module)
    treated: dict[str, LayerTreatment] = {}
    chosen = [layer for layer in find_layers(module) if layer.name in kinds and layer.reason is None]
    for number, layer in enumerate(chosen):
        context.progress(0.9 * number / len(chosen), f"rounding {layer.name}")
        treated[layer.name] = _treat(module, layer, kinds[layer.name], settings, narrow)
    context.progress(0.9, "exporting")
    module.graph.eliminate_dead_code()
    module.recompile()
    return reexport(module, program, next(batches(context.calibration, program))), treated


def _treat(module: GraphModule, layer: Layer, kind: str, settings: Quantize, narrow: bool) -> LayerTreatment:
    dynamic = settings.activations in ("dynamic", "int8") and kind.startswith("int")
    bits = BITS[kind]
    rounding = Rounding(bits, settings.group_of(bits), settings.symmetric, narrow and dynamic)
    pairs = [(stored(module, node), node) for node in layer.weights]
    rounded = [(weight, round_nearest(weight, rounding)) for weight, _ in pairs]
    for (_, node), (_, low) in zip(pairs, rounded, strict=True):
        write_weight(module, node, low)
    inputs = _round_inputs(module, layer) if dynamic else "its input stays float"
    return LayerTreatment(
        layer=layer.name,
        treatment=kind,
        reason=f"{_words(rounding, rounded[0][1])}, {settings.rounding}; {inputs}",
        bytes_before=sum(weight.numel() * weight.element_size() for weight, _ in rounded),
        bytes_after=sum(low.packed_bytes for _, low in rounded),
        error_db=_ratio_db(rounded),
    )


def _round_inputs(module: GraphModule, layer: Layer) -> str:
    if layer.kind in _NO_ROW:
        return _NO_ROW[layer.kind]
    for call in layer.calls:
        if call.target not in EMBEDDINGS:
            round_input(module, call)
    return "each row of its input is rounded to int8 as it comes"


def _words(rounding: Rounding, low: LowBitWeight) -> str:
    share = "a scale per output channel" if low.scales.shape[1] == 1 else f"groups of {low.group}"
    return share + (", symmetric" if rounding.symmetric else ", with zero points")


def _ratio_db(pairs: list[tuple[torch.Tensor, LowBitWeight]]) -> float:
    """Signal-to-noise ratio of the rounded weights, in dB; 200 where nothing was lost."""
    signal = sum(float(weight.double().square().sum()) for weight, _ in pairs)
    noise = sum(float((weight - low.dequantized()).double().square().sum()) for weight, low in pairs)
    if noise == 0 or signal == 0:
        return 200.0
    return float(10 * torch.log10(torch.tensor(signal / noise, dtype=torch.float64)))
