"""What distillation did to the layers of a quantized program."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.export import ExportedProgram

from burnish.results import LayerTreatment
from workers.graphs.fake_quantization import FakeQuantized, RoundedLayer
from workers.graphs.own_weights import state, with_own_weights
from workers.passes.kept_zeros import KeptZeros

__all__ = ["trained_layers"]


def trained_layers(
    student: FakeQuantized, program: ExportedProgram, best: Mapping[str, torch.Tensor] | None, zeros: KeptZeros
) -> tuple[LayerTreatment, ...]:
    """One entry for each layer with rounded weights; programs without such layers have none.

    Args:
        program: the one that came in.
        best: its state after training; `None` if it was handed back as it came.
        zeros: what was held at zero.
    """
    if not student.layers:
        return ()
    before = state(with_own_weights(program))
    return tuple(_treatment(layer, before, best, zeros) for layer in student.layers)


def _treatment(
    layer: RoundedLayer, before: Mapping[str, torch.Tensor], best: Mapping[str, torch.Tensor] | None, zeros: KeptZeros
) -> LayerTreatment:
    if not layer.weights:
        return LayerTreatment(layer=layer.name, treatment="left alone", reason=layer.reason or "it has no codes")
    if best is None:
        reason = "training brought the outputs no closer to the original's"
        return LayerTreatment(layer=layer.name, treatment="left alone", reason=reason)
    changed = sum(_differences(before[weight.codes_name], best[weight.codes_name]) for weight in layer.weights)
    total = sum(weight.size for weight in layer.weights)
    reasons = [f"rounded at every step of the training as in the result: {changed} of {total} codes changed"]
    if any(weight.latent in zeros for weight in layer.weights):
        reasons.append("its zeros are kept")
    if layer.reason is not None:
        reasons.append(f"one of its weights stays as it was: {layer.reason}")
    return LayerTreatment(layer=layer.name, treatment=f"{layer.kind}, trained", reason="; ".join(reasons))


def _differences(before: torch.Tensor, after: torch.Tensor) -> int:
    return int((before.to(torch.float32) != after.to(torch.float32)).sum())
