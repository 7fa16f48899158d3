"""Weights in few bits: every chosen matrix is replaced by its form, and inputs are rounded where asked."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from burnish.passes import Quantize
from burnish.results import LayerTreatment
from workers.graphs.folded_norms import fold_batch_norms
from workers.graphs.low_bit import round_input
from workers.graphs.recurrent_stacks import split_first_layer
from workers.graphs.reexport import reexport
from workers.graphs.stored_values import stored_tensor
from workers.graphs.type_checks import drop_type_checks
from workers.passes.base import PassContext
from workers.passes.bias_correction import correct_bias, mean_error
from workers.passes.calibration import batches
from workers.passes.input_moments import Moments, input_moments, portions
from workers.passes.quantize_layers import EMBEDDINGS, Layer, find_layers
from workers.passes.quantize_recurrent import Spared, sensitive_parts
from workers.passes.rounding_grid import Rounding
from workers.passes.weight_forms import Form, ratio_db, rounded, rounding_of, words, write

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

    1. Batch norms are folded into the convolutions before them.
    2. Of recurrent layers the sensitive parts are found, unless `protect` is off (`quantize_recurrent.py`).
    3. Where rounding or bias correction needs data, the calibration samples run through the program, and the moments
       of each layer's inputs are taken. Their memory is bounded: with many layers there are several such runs, the
       later ones over a program whose first layers are rounded.
    4. Each weight is rounded and written in its form. The input of a linear or recurrent layer passes through int8, if
       activations are dynamic. Where that of a stack's first layer may not, the stack becomes two calls, and the second
       one's does.

    Args:
        narrow: 8-bit codes that int8 arithmetic reads stay within 7 bits.
    """
    module = copy.deepcopy(program.module(check_guards=False))
    assert isinstance(module, GraphModule)
    fold_batch_norms(module)
    chosen = [layer for layer in find_layers(module) if layer.name in kinds and layer.reason is None]
    treating = _Treating(module, settings, narrow)
    example = next(batches(context.calibration, program))
    if settings.protect:
        treating.spare([layer for layer in chosen if layer.kind == "recurrent"], kinds, example)
    treated: dict[str, LayerTreatment] = {}
    for portion in portions(chosen, settings.rounding == "gptq") if treating.needs_data else [chosen]:
        treating.inputs = _inputs(module, program, portion, settings, context) if treating.needs_data else {}
        for layer in portion:
            context.progress(0.4 + 0.5 * len(treated) / len(chosen), f"rounding {layer.name}")
            treated[layer.name] = treating.treat(layer, kinds[layer.name])
    context.progress(0.9, "exporting")
    module.graph.eliminate_dead_code()
    module.recompile()
    made = reexport(module, program, example)
    drop_type_checks(made.graph)
    return made, treated


def _inputs(
    module: GraphModule, program: ExportedProgram, layers: Sequence[Layer], settings: Quantize, context: PassContext
) -> dict[str, Moments]:
    total = len(context.calibration)

    def progress(share: float) -> None:
        context.progress(0.4 * share, f"observing inputs: {round(share * total)} of {total} samples")

    calls = [call for layer in layers for call in layer.calls]
    return input_moments(module, program, calls, context.calibration, settings.rounding == "gptq", progress)


class _Treating:
    """One layer after another, on one module."""

    def __init__(self, module: GraphModule, settings: Quantize, narrow: bool) -> None:
        self.module, self.settings, self.narrow = module, settings, narrow
        self.inputs: Mapping[str, Moments] = {}
        self._spared: dict[str, Spared] = {}
        self.needs_data = settings.rounding == "gptq" or settings.bias_correction

    def spare(self, layers: Sequence[Layer], kinds: Mapping[str, str], inputs: Sequence[torch.Tensor]) -> None:
        """Rule 2, for recurrent layers; all weights are still float32."""
        for layer in layers:
            kind = kinds[layer.name]
            rounding = self._rounding(kind)
            self._spared[layer.name] = sensitive_parts(self.module, layer, kind, rounding, self.settings, inputs)

    def treat(self, layer: Layer, kind: str) -> LayerTreatment:
        """Rule 4, for one layer."""
        integers, rounding = kind.startswith("int"), self._rounding(kind)
        spared = self._spared.get(layer.name, Spared())
        pairs: list[tuple[torch.Tensor, Form]] = []
        errors: dict[Node, torch.Tensor] = {}
        for node in layer.weights:
            if node in spared.floats:
                continue
            weight, seen = stored_tensor(self.module, node).detach(), self.inputs.get(str(node.target))
            form = spared.fine.get(node) or rounded(weight, kind, rounding, self.settings, seen)
            pairs.append((weight, form))
            written = write(self.module, node, form)
            if self.settings.bias_correction and integers and seen is not None:
                errors[written] = mean_error(weight, form.dequantized(), seen.mean)
        reasons = [words(kind, rounding, [form for _, form in pairs], self._method(layer, integers))]
        if errors and correct_bias(self.module, layer.calls, errors):
            reasons.append("bias corrected")
        dynamic = self._is_dynamic(kind)
        reasons += spared.reasons
        reasons.append(_round_inputs(self.module, layer, spared) if dynamic else "its input stays float")
        floats = sum(4 * stored_tensor(self.module, node).numel() for node in spared.floats)
        return LayerTreatment(
            layer=layer.name,
            treatment=kind,
            reason="; ".join(reasons),
            bytes_before=floats + sum(weight.numel() * weight.element_size() for weight, _ in pairs),
            bytes_after=floats + sum(form.packed_bytes for _, form in pairs),
            error_db=ratio_db([(weight, form.dequantized()) for weight, form in pairs]),
        )

    def _is_dynamic(self, kind: str) -> bool:
        return kind.startswith("int") and self.settings.activations in ("dynamic", "int8")

    def _rounding(self, kind: str) -> Rounding:
        return rounding_of(kind, self.settings, self.narrow and self._is_dynamic(kind))

    def _method(self, layer: Layer, integers: bool) -> str:
        if not integers:
            return "nearest"
        observed = any(str(node.target) in self.inputs for node in layer.weights)
        if self.settings.rounding == "gptq" and not observed:
            return "nearest, since it multiplies nothing that gptq could weigh"
        return self.settings.rounding


def _round_inputs(module: GraphModule, layer: Layer, spared: Spared) -> str:
    if layer.kind in _NO_ROW:
        return _NO_ROW[layer.kind]
    if spared.float_input is not None:
        return _round_inputs_above(module, layer.calls, spared.float_input)
    for call in layer.calls:
        if call.target not in EMBEDDINGS:
            round_input(module, call)
    return "each row of its input is rounded to int8 as it comes"


def _round_inputs_above(module: GraphModule, calls: Sequence[Node], why: str) -> str:
    """The input of the first layer of a stack stays float; those of the layers above are rounded."""
    parts = [split_first_layer(module, call) for call in calls]
    if None in parts:
        return f"its input stays float: {why}"
    for part in parts:
        assert part is not None
        round_input(module, part[1])
    return f"the input of its first layer stays float: {why}; each row of the others' is rounded to int8 as it comes"
