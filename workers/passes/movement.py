"""Movement pruning: which weights training moves away from zero, and which towards it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from workers.passes.kept_zeros import KeptZeros
from workers.passes.prunable_weights import PrunableWeight

__all__ = ["Movement"]


class Movement(KeptZeros):
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
        """Args:
        weights: the parameters; `prune` and the training change them in place.
        """
        self._weights = dict(weights)
        self._values = {weight: tensor.detach().clone() for weight, tensor in weights.items()}
        self._sums = {weight: torch.zeros_like(tensor) for weight, tensor in self._values.items()}
        self._gone = {weight: torch.zeros_like(tensor, dtype=torch.bool) for weight, tensor in self._values.items()}
        self._trained = False
        self.returned = 0
        """How many pruned weights came back, over all calls of `prune`."""
        super().__init__((tensor, self._gone[weight]) for weight, tensor in self._weights.items())

    def importance(self) -> dict[PrunableWeight, torch.Tensor]:
        """The score of each element; the least should go."""
        scores = self._sums if self._trained else {weight: values.abs() for weight, values in self._values.items()}
        return {weight: score.masked_fill(self._values[weight] == 0, -torch.inf) for weight, score in scores.items()}

    def prune(self, masks: Mapping[PrunableWeight, torch.Tensor]) -> None:
        """Sets the elements to zero where the masks are True, and all others to their values."""
        with torch.no_grad():
            for weight, gone in masks.items():
                self.returned += int((self._gone[weight] & ~gone).sum())
                self._gone[weight].copy_(gone)
                self._weights[weight].copy_(self._values[weight])
        super().restore()

    def restore(self) -> None:
        """After a step of an optimizer: adds its movement to the scores, and sets pruned weights to zero again."""
        self._trained = True
        super().restore()
        with torch.no_grad():
            for weight, tensor in self._weights.items():
                if tensor.grad is not None:
                    self._sums[weight] -= tensor.grad * self._values[weight]
                self._values[weight] = torch.where(self._gone[weight], self._values[weight], tensor)
