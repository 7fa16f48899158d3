"""Zeros of pruned weights that stay zero while the other weights are trained."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from workers.graphs.fake_quantization import LatentWeight

__all__ = ["KeptZeros"]

LEAST_SHARE = 0.2
"""Weights that were trained have next to no exact zeros; those that were pruned have more than this."""
LEAST_ROUNDED_SHARE = {8: 0.2, 4: 0.4, 3: 0.6, 2: 0.75}
"""The same, of weights rounded to as many bits or more."""


def _keeps_zeros(weight: LatentWeight) -> bool:
    """True if so many values of a rounded weight are zero that they were pruned."""
    least = next((share for bits, share in LEAST_ROUNDED_SHARE.items() if weight.form.bits >= bits), 1.0)
    return least <= int(weight.zeros().sum()) / weight.size < 1.0


class KeptZeros:
    """Which elements of which weights are held at zero."""

    def __init__(self, masks: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Args:
        masks: weights, each with a boolean tensor of its shape: True where it is held at zero.
        """
        self._masks = list(masks)

    @classmethod
    def of(cls, module: torch.nn.Module) -> KeptZeros:
        """The zeros that a model came with, whoever pruned it.

        A matrix or kernel of which a fifth or more is exactly zero keeps its zeros. One that is zero everywhere was
        initialized so and learns as any other. Latent weights of few bits have many zeros from rounding alone, so more
        of them have to be zero (`LEAST_ROUNDED_SHARE`).
        """
        latent = [part for part in module.modules() if isinstance(part, LatentWeight)]
        rounded = {id(each) for part in latent for each in part.parameters()}
        matrices = (weight for weight in module.parameters() if weight.dim() > 1 and weight.is_floating_point())
        masks = ((weight, weight.detach() == 0) for weight in matrices if id(weight) not in rounded)
        plain = [(weight, mask) for weight, mask in masks if LEAST_SHARE <= float(mask.double().mean()) < 1.0]
        return cls((*plain, *((part.latent, part.zeros()) for part in latent if _keeps_zeros(part))))

    def __len__(self) -> int:
        """How many weights have zeros to keep."""
        return len(self._masks)

    def __contains__(self, weight: object) -> bool:
        """True if zeros of this weight are kept."""
        return any(weight is held for held, _ in self._masks)

    def restore(self) -> None:
        """Sets them to zero again, after a step of an optimizer."""
        with torch.no_grad():
            for weight, mask in self._masks:
                weight.masked_fill_(mask, 0.0)
