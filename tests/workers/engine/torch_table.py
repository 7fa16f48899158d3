"""A table of one step, which computes with torch: matrix products, a convolution, a sort, and training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from workers.passes import RUNNERS
from workers.steps.base import Made, Step, StepContext

__all__ = ["BACKENDS", "STEPS"]

BACKENDS: dict[str, Any] = {}


class Compute(Step):
    """What hangs in a fork of a parent that has computed."""

    def run(self, context: StepContext) -> Made:
        torch.manual_seed(context.seed)
        images = torch.randn(32, 3, 16, 16)
        torch.sort(torch.randn(100_000))
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 1))
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        losses = []
        for _ in range(5):
            loss = (model(images) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return Made(report={"first": losses[0], "loss": losses[-1], "threads": torch.get_num_threads()})


assert RUNNERS  # imports all that the real table imports of passes
STEPS: dict[str, Step] = {"compute": Compute()}
