"""Post-training quantization: which layer gets which form, and the stages that give it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from burnish.passes import Quantize
from burnish.results import LayerTreatment
from workers.isa import isa, saturates_int8
from workers.passes.base import Applied, Pass, PassContext
from workers.passes.quantize_layers import Layer, find_layers, kind_for
from workers.passes.quantize_static import quantize_static, static_reason
from workers.passes.quantize_weights import quantize_weights

__all__ = ["QuantizePass"]

_FORMS = torch.ops.quantized_decomposed


class QuantizePass(Pass[Quantize]):
    """Fewer bits for weights, and for what layers compute with.

    1. Each layer gets the kind of weights that the settings name for it; one that can't have it is left alone.
    2. Layers of static int8 are treated first (`quantize_static.py`), over the whole program, for the backends' int8
       kernels pass tensors on to each other.
    3. Then the weights of all others are rounded, layer by layer (`quantize_weights.py`).
    4. On a machine whose int8 kernels saturate, int8 weights get 7 bits (`workers/isa.py`).

    Jacob et al., 2018: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference.
    Krishnamoorthi, 2018: Quantizing deep convolutional networks for efficient inference.
    """

    settings = Quantize
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchao")
    depends_on_isa: ClassVar[bool] = True
    """By rule 4: the ISA is part of the cache key."""

    def requires(self, program: ExportedProgram, settings: Quantize) -> Sequence[str]:
        module = program.module(check_guards=False)
        if _is_quantized(module) or any(_reason(layer, settings) is None for layer in find_layers(module)):
            return []
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
        layers = find_layers(module)
        reasons = {layer.name: _reason(layer, settings) for layer in layers}
        kinds = {layer.name: kind_for(layer, settings) for layer in layers if reasons[layer.name] is None}
        if not kinds or _is_quantized(module):
            return Applied(program, changed=False)
        weight_bits = 7 if saturates_int8(isa()) else 8
        made, treated = program, dict[str, LayerTreatment]()
        static = frozenset(layer.name for layer in layers if layer.name in kinds and _is_static(layer, settings))
        if static:
            made, treated = quantize_static(made, static, settings, context, weight_bits)
        rest = {name: kind for name, kind in kinds.items() if name not in static and kind is not None}
        if rest:
            made, more = quantize_weights(made, rest, settings, context, weight_bits == 7)
            treated |= more
        return Applied(
            made,
            changed=True,
            layers=tuple(
                treated.get(layer.name)
                or LayerTreatment(layer=layer.name, treatment="left alone", reason=reasons[layer.name] or "")
                for layer in layers
            ),
            figures=_figures(made, treated, len(layers), weight_bits, len(context.calibration)),
        )


def _is_static(layer: Layer, settings: Quantize) -> bool:
    """True if the layer is treated by stage 2."""
    return settings.is_static and kind_for(layer, settings) == "int8" and layer.kind != "embedding"


def _reason(layer: Layer, settings: Quantize) -> str | None:
    """Why the layer is left alone; `None` if it is treated."""
    if layer.kind == "other":
        return layer.reason
    kind = kind_for(layer, settings)
    if kind is None:
        wanted = layer.kind == "embedding" and "float32" not in settings.layers.values()
        return "a table look-up: nothing is computed" if wanted else "the settings leave it alone"
    return static_reason(layer) if _is_static(layer, settings) else layer.reason


def _is_quantized(module: GraphModule) -> bool:
    return any(str(node.target).startswith("quantized_decomposed.") for node in module.graph.nodes)


def _figures(
    program: ExportedProgram, treated: dict[str, LayerTreatment], layers: int, weight_bits: int, samples: int
) -> dict[str, float]:
    kinds = [treatment.treatment for treatment in treated.values()]
    figures = {f"layers_{kind}": float(kinds.count(kind)) for kind in dict.fromkeys(kinds)}
    return figures | {
        "layers_left_alone": float(layers - len(treated)),
        "tensors_quantized": float(_count(program)),
        "weight_bits": float(weight_bits),
        "calibration_samples": float(samples),
    }


def _count(program: ExportedProgram) -> int:
    targets = (_FORMS.quantize_per_tensor.default, _FORMS.quantize_per_token.default)
    return sum(node.target in targets for node in program.graph.nodes)
