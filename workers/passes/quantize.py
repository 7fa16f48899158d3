"""Post-training quantization: which layer gets which form, and the stages that give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from burnish.errors import InternalError
from burnish.passes import Quantize
from burnish.results import LayerTreatment
from workers.graphs.rounded_forms import find_rounded
from workers.isa import isa, saturates_int8
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.mixed_bits import Choice, Weighed, choose_bits
from workers.passes.quantize_half import HALVES, float32_weights, half_reasons, quantize_half
from workers.passes.quantize_layers import Layer, find_layers, kind_for, named_kind
from workers.passes.quantize_static import quantize_static, static_reason
from workers.passes.quantize_weights import quantize_weights

__all__ = ["QuantizePass"]

_FORMS = torch.ops.quantized_decomposed


class QuantizePass(Pass[Quantize]):
    """Fewer bits for weights, and for what layers compute with.

    1. Half precision weights change the whole program (`quantize_half.py`), and that is all there is to do then.
    2. Else each layer gets the kind of weights that the settings name for it; `mixed` weights are chosen by the profile
       (`mixed_bits.py`). A layer that can't have its kind is left alone.
    3. Layers of static int8 are treated first (`quantize_static.py`), over the whole program, for the backends' int8
       kernels pass tensors on to each other.
    4. Then the weights of all others are rounded, layer by layer (`quantize_weights.py`).
    5. `rest` in half precision changes what is beside the layers of static int8, as rule 1 does.
    6. On a machine whose int8 kernels saturate, int8 weights get 7 bits (`workers/isa.py`).

    Jacob et al., 2018: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference.
    Krishnamoorthi, 2018: Quantizing deep convolutional networks for efficient inference.
    """

    settings = Quantize
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchao")
    depends_on_isa: ClassVar[bool] = True
    """By rule 6: the ISA is part of the cache key."""

    def requires(self, program: ExportedProgram, settings: Quantize) -> Sequence[str]:
        module = program.module(check_guards=False)
        assert isinstance(module, GraphModule)
        if _already(module):
            return []
        if settings.weights in HALVES:
            return half_reasons(module, settings)
        if any(_reason(layer, settings) is None for layer in find_layers(module)):
            return half_reasons(module, settings) if settings.half else []
        if settings.is_static:
            return [
                "The model has no layer that int8 speeds up: a one- or two-dimensional convolution or a linear layer, "
                "with float32 weights of its own. Leave `quantize` out of the recipe."
            ]
        return [
            "The model has no layer whose weights could be rounded: a linear layer, a convolution or a recurrent layer "
            "with float32 weights of its own that the settings don't leave alone. Leave `quantize` out of the recipe."
        ]

    def apply(self, program: ExportedProgram, settings: Quantize, context: PassContext) -> Applied:
        module = program.module(check_guards=False)
        assert isinstance(module, GraphModule)
        if why := " ".join(self.requires(program, settings)) or _already(module):
            return Applied(program, changed=False, reason=why)
        layers = find_layers(module)
        if settings.weights in HALVES:
            made, treated, reasons = quantize_half(program, settings, context)
        else:
            made, treated, reasons = _in_stages(program, layers, settings, context)
        return Applied(
            made,
            changed=True,
            layers=tuple(
                treated.get(layer.name)
                or LayerTreatment(layer=layer.name, treatment="left alone", reason=reasons[layer.name])
                for layer in layers
            ),
            figures=_figures(made, treated, len(layers), len(context.calibration)),
        )


def _in_stages(
    program: ExportedProgram, layers: Sequence[Layer], settings: Quantize, context: PassContext
) -> tuple[ExportedProgram, dict[str, LayerTreatment], dict[str, str]]:
    """Rules 2 to 6: the program, the treated layers, and why others were left alone."""
    found = {layer.name: _reason(layer, settings) for layer in layers}
    reasons = {name: reason for name, reason in found.items() if reason is not None}
    chosen = [layer for layer in layers if layer.name not in reasons]
    kinds = {layer.name: kind_for(layer, settings) for layer in chosen}
    choices = _choices(chosen, settings, context)
    kinds |= {name: choice.kind for name, choice in choices.items()}
    narrow = saturates_int8(isa())
    made, treated = program, dict[str, LayerTreatment]()
    static = frozenset(layer.name for layer in chosen if _is_static(layer, settings))
    if static:
        made, treated = quantize_static(made, static, settings, context, narrow)
    if rest := {name: kind for name, kind in kinds.items() if name not in static}:
        made, more = quantize_weights(made, rest, settings, context, narrow)
        treated |= more
    if settings.half:
        made, more, kept = quantize_half(made, settings, context, done=treated)
        treated |= more
        reasons |= kept
    return made, _explained(treated, choices), reasons


def _choices(layers: Sequence[Layer], settings: Quantize, context: PassContext) -> dict[str, Choice]:
    """Bits of the layers that no pattern names, where weights are mixed."""
    if settings.weights != "mixed":
        return {}
    if context.profile is None:
        raise InternalError(
            "`quantize` with mixed weights came without a profile.", cure="Report it with the recipe that led here."
        )
    weighed = [
        Weighed(layer.name, sum(node.meta["val"].numel() for node in layer.weights))
        for layer in layers
        if named_kind(layer, settings) is None
    ]
    return choose_bits(weighed, context.profile, settings)


def _explained(treated: Mapping[str, LayerTreatment], choices: Mapping[str, Choice]) -> dict[str, LayerTreatment]:
    """Treatments with the reason for their bits in front."""
    return {
        name: each
        if name not in choices
        else each.model_copy(
            update={"reason": f"{choices[name].reason}; {each.reason}", "seconds": choices[name].seconds}
        )
        for name, each in treated.items()
    }


def _is_static(layer: Layer, settings: Quantize) -> bool:
    """True if the layer is for stage 3."""
    return settings.is_static and kind_for(layer, settings) == "int8" and layer.kind != "embedding"


def _reason(layer: Layer, settings: Quantize) -> str | None:
    """Why the layer is left alone; `None` if it is treated."""
    if layer.kind == "other":
        return layer.reason
    if kind_for(layer, settings) == "float32":
        if named_kind(layer, settings) is None:
            return "a table look-up: nothing is computed; `embeddings: true` makes it smaller"
        return "the settings leave it alone"
    return static_reason(layer) if _is_static(layer, settings) else layer.reason


def _already(module: GraphModule) -> str | None:
    """In a sentence, that the pass has been here; `None` if not.

    It leaves operators of `quantized_decomposed`, few-bit floats, or half precision with no float32 layer beside it. A
    layer in half precision among others in float32, or a stored tensor of integers, is the model's own.
    """
    if any(getattr(node.target, "namespace", None) == "quantized_decomposed" for node in module.graph.nodes):
        return "The model is quantized already, and stays as it is."
    if find_rounded(module):
        return "The model is quantized already, and stays as it is."
    stored = (node.meta.get("val") for node in module.graph.nodes if node.op == "get_attr")
    halves = (each.dtype for each in stored if isinstance(each, torch.Tensor) and each.dtype in HALVES.values())
    half = next(halves, None)
    if half is None or any(float32_weights(module, layer) for layer in find_layers(module)):
        return None
    return f"The model's weights are {half} already, and it stays as it is.".replace("torch.", "")


def _figures(
    program: ExportedProgram, treated: Mapping[str, LayerTreatment], layers: int, samples: int
) -> dict[str, float]:
    kinds = [treatment.treatment for treatment in treated.values()]
    figures = {f"layers_{kind}": float(kinds.count(kind)) for kind in dict.fromkeys(kinds)}
    before, after = (
        sum(getattr(each, name) or 0 for each in treated.values()) for name in ("bytes_before", "bytes_after")
    )
    return figures | {
        "layers_left_alone": float(layers - len(treated)),
        "tensors_quantized": float(_count(program)),
        "weight_bytes_before": float(before),
        "weight_bytes_after": float(after),
        "calibration_samples": float(samples),
    }


def _count(program: ExportedProgram) -> int:
    targets = (_FORMS.quantize_per_tensor.default, _FORMS.quantize_per_token.default)
    return sum(node.target in targets for node in program.graph.nodes)
