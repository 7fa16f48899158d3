"""Movement pruning: which weights training moves away from zero, and which towards it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from workers.passes.chosen_zeros import ChosenZeros
from workers.passes.prunable_weights import PrunableWeight

__all__ = ["Movement"]


class Movement(ChosenZeros):
    """Holds pruned weights at zero while the others are trained, and scores all of them by their movement.

    Sanh et al. 2020 (arXiv:2005.07683), with hard masks:

    1. The importance of a weight is the sum of -w · dL/dw over all steps of training so far: positive where the steps
       take it away from zero. The largest stay.
    2. A pruned weight keeps the value it had and is not trained. Its score goes on (straight through), by the gradient
       at zero times the value kept. If it comes to be among the largest, the weight returns with its value.
    3. Before any training nothing has moved, and the magnitude stands in for it. What rule 1 says later overrules it.
    4. Weights that came in as zeros go before all others: no training would move them by rule 1.
    """

    def __init__(self, weights: Mapping[PrunableWeight, torch.Tensor]) -> None:
        super().__init__(weights)
        self._values = {weight: tensor.detach().clone() for weight, tensor in weights.items()}
        self._sums = {weight: torch.zeros_like(tensor) for weight, tensor in self._values.items()}
        self._trained = False
        self.returned = 0
        """How many pruned weights came back, over all calls of `prune`."""

    def importance(self) -> dict[PrunableWeight, torch.Tensor]:
        """The score of each element; the least should go."""
        scores = self._sums if self._trained else {weight: values.abs() for weight, values in self._values.items()}
        return {weight: score.masked_fill(self._values[weight] == 0, -torch.inf) for weight, score in scores.items()}

    def prune(self, masks: Mapping[PrunableWeight, torch.Tensor]) -> None:
        """Sets the elements to zero where the masks are True, and all others to their values."""
        with torch.no_grad():
            for weight, gone in masks.items():
                self.returned += int((self._gone[weight] & ~gone).sum())
                self._weights[weight].copy_(self._values[weight])
        super().prune(masks)

    def restore(self) -> None:
        """After a step of an optimizer: adds its movement to the scores, and sets pruned weights to zero again."""
        self._trained = True
        super().restore()
        with torch.no_grad():
            for weight, tensor in self._weights.items():
                if tensor.grad is not None:
                    self._sums[weight] -= tensor.grad * self._values[weight]
                self._values[weight] = torch.where(self._gone[weight], self._values[weight], tensor)

    def state(self) -> dict[str, Any]:
        scores = {"values": self._by_name(self._values), "sums": self._by_name(self._sums)}
        return {**super().state(), **scores, "trained": self._trained, "returned": self.returned}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self._fill(self._values, state["values"])
        self._fill(self._sums, state["sums"])
        self._trained, self.returned = state["trained"], state["returned"]
