"""What pruning did to the single weights of each layer, in words and figures."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence

import torch

from burnish.passes import Prune
from burnish.results import LayerTreatment
from workers.passes.prunable_weights import PrunableWeight
from workers.passes.weight_masks import ratio_for

__all__ = ["report"]

_WORDS = {
    "magnitude": "the smallest weights",
    "taylor": "the weights with the least effect on the loss",
    "movement": "the weights that training moved least away from zero, or most towards it",
    "sparsegpt": "the weights that the others make up for best, which were changed to do so",
}
_GAIN = {
    "unstructured": "the file gets smaller when compressed, but no backend runs it faster",
    "2:4": "the file gets smaller when compressed; linear layers of it run on the sparse tensor cores of CUDA from "
    "Ampere on by `inductor`, if half precision follows, and no other backend runs it faster",
}


def report(
    before: Mapping[str, torch.Tensor],
    after: Mapping[str, torch.Tensor],
    weights: Sequence[PrunableWeight],
    settings: Prune,
) -> tuple[tuple[LayerTreatment, ...], dict[str, float]]:
    """One entry per weight, and the totals.

    Figures: `weights` and `zeros` count the elements of all weights of layers; `compressed_bytes_before` and `_after`
    are what zlib makes of them.
    """
    layers = tuple(_treatment(before[weight.name], after[weight.name], weight, settings) for weight in weights)
    return layers, {
        "weights": float(sum(after[weight.name].numel() for weight in weights)),
        "zeros": float(sum(_zeros(after[weight.name]) for weight in weights)),
        "compressed_bytes_before": float(sum(_compressed(before[weight.name]) for weight in weights)),
        "compressed_bytes_after": float(sum(_compressed(after[weight.name]) for weight in weights)),
    }


def _treatment(before: torch.Tensor, after: torch.Tensor, weight: PrunableWeight, settings: Prune) -> LayerTreatment:
    owner, _, attribute = weight.name.rpartition(".")
    # A recurrent layer has several matrices, each with an entry of its own.
    layer = owner if owner and attribute == "weight" else weight.name
    if weight.reason is not None:
        return LayerTreatment(layer=layer, treatment="left alone", reason=weight.reason)
    if ratio_for(weight, settings) == 0.0:
        return LayerTreatment(layer=layer, treatment="left alone", reason="`layers` gives it the ratio 0")
    share = _zeros(after) / after.numel()
    size = after.numel() * after.element_size()
    return LayerTreatment(
        layer=layer,
        treatment=f"{share:.1%} zeros" if settings.kind == "unstructured" else "2 of 4 zero",
        reason=f"{_WORDS[settings.method]}; {_GAIN[settings.kind]}",
        bytes_before=size,
        bytes_after=size,
        error_db=_ratio_in_db(before, before - after),
    )


def _zeros(tensor: torch.Tensor) -> int:
    return tensor.numel() - int(torch.count_nonzero(tensor))


def _compressed(tensor: torch.Tensor) -> int:
    return len(zlib.compress(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes(), level=1))


def _ratio_in_db(signal: torch.Tensor, noise: torch.Tensor) -> float | None:
    powers = [float(each.detach().double().square().sum()) for each in (signal, noise)]
    return 10.0 * math.log10(powers[0] / powers[1]) if all(powers) else None
