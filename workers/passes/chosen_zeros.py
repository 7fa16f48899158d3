"""Zeros that pruning chooses, once or again and again while the other weights are trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from workers.passes.kept_zeros import KeptZeros
from workers.passes.prunable_weights import PrunableWeight

__all__ = ["ChosenZeros"]


class ChosenZeros(KeptZeros):
    """Holds pruned weights at zero; none are before the first `prune`."""

    def __init__(self, weights: Mapping[PrunableWeight, torch.Tensor]) -> None:
        """Args:
        weights: the parameters; `prune` and the training change them in place.
        """
        self._weights = dict(weights)
        self._gone = {weight: torch.zeros_like(tensor, dtype=torch.bool) for weight, tensor in self._weights.items()}
        super().__init__((tensor, self._gone[weight]) for weight, tensor in self._weights.items())

    def prune(self, masks: Mapping[PrunableWeight, torch.Tensor]) -> None:
        """Sets the elements to zero where the masks are True, and holds these from now on."""
        for weight, gone in masks.items():
            self._gone[weight].copy_(gone)
        super().restore()

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs, but the parameters themselves."""
        return {"gone": self._by_name(self._gone)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Holds what was held when `state` was taken. The parameters have to be those of then."""
        self._fill(self._gone, state["gone"])

    @staticmethod
    def _by_name(tensors: Mapping[PrunableWeight, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {weight.name: tensor for weight, tensor in tensors.items()}

    @staticmethod
    def _fill(tensors: Mapping[PrunableWeight, torch.Tensor], found: Mapping[str, torch.Tensor]) -> None:
        for weight, tensor in tensors.items():
            tensor.copy_(found[weight.name])
