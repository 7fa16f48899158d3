"""Which single weights become zero, given how much each matters."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from burnish.passes import Prune
from workers.passes.channel_pools import ratio_of
from workers.passes.prunable_weights import PrunableWeight, columns_last, restored
from workers.passes.sparsegpt import two_smallest_of_four

__all__ = ["least", "ratio_for", "two_of_four"]


def ratio_for(weight: PrunableWeight, settings: Prune, share: float = 1.0) -> float:
    """The share of zeros asked for: the setting's, or that of `layers`; times `share`, while it grows step by step."""
    named = ratio_of([weight.layer], settings)
    return (settings.ratio if named is None else named) * share


def least(
    scores: Mapping[PrunableWeight, torch.Tensor], settings: Prune, share: float = 1.0
) -> dict[PrunableWeight, torch.Tensor]:
    """Masks of the weights that matter least: True where they go. Of equals the first; one of each tensor is left.

    With scope `global` all tensors are ranked together, but for those that `layers` gives a ratio of their own.
    """
    together = [
        weight for weight in scores if settings.scope == "global" and ratio_of([weight.layer], settings) is None
    ]
    counts = {weight: round(ratio_for(weight, settings, share) * found.numel()) for weight, found in scores.items()}
    if together:
        every = torch.cat([scores[weight].reshape(-1) for weight in together])
        gone = _smallest(every, round(settings.ratio * share * every.numel()))
        parts = torch.split(gone, [scores[weight].numel() for weight in together])
        counts.update({weight: int(part.sum()) for weight, part in zip(together, parts, strict=True)})
    return {
        weight: _smallest(found.reshape(-1), min(counts[weight], found.numel() - 1)).reshape(found.shape)
        for weight, found in scores.items()
    }


def two_of_four(scores: Mapping[PrunableWeight, torch.Tensor]) -> dict[PrunableWeight, torch.Tensor]:
    """Masks with two of each four neighbours along the inputs."""
    return {
        weight: restored(two_smallest_of_four(columns_last(found)), found.shape) for weight, found in scores.items()
    }


def _smallest(flat: torch.Tensor, count: int) -> torch.Tensor:
    mask = torch.zeros(flat.shape, dtype=torch.bool)
    mask[torch.argsort(flat, stable=True)[:count]] = True
    return mask
