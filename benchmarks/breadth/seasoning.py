"""Weights as if they had been trained: fresh networks hide faults behind zeros, ones and statistics of nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["season"]

_Norm = nn.modules.batchnorm._BatchNorm


def season(module: nn.Module, inputs: Sequence[Tensor]) -> nn.Module:
    """Changes the module in place, and leaves it in eval mode.

    1. A parameter whose values are all the same gets random ones: around 0 if it was 0, else from 0.5 to 1.5. So no
       residual branch is switched off by its scale, and no bias or norm can be left out unnoticed.
    2. Batch norms take the statistics of `inputs`, so that values neither vanish nor explode over depth.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if (
                parameter.is_floating_point()
                and parameter.numel() > 1
                and bool((parameter == parameter.flatten()[0]).all())
            ):
                zero = bool(parameter.flatten()[0] == 0)
                parameter.copy_(torch.randn_like(parameter) * 0.1 if zero else torch.rand_like(parameter) + 0.5)
        norms = [part for part in module.modules() if isinstance(part, _Norm) and part.track_running_stats]
        if norms:
            module.eval()
            for norm in norms:
                norm.train()
                norm.reset_running_stats()
                norm.momentum = None  # the plain average of what it sees
            module(*inputs)
    return module.eval()
