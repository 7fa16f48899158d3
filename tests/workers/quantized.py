"""Quantized programs that the tests of passes, graphs, backends and steps share."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from burnish.passes import Quantize
from tests import models
from workers.passes.base import Applied, PassContext, Samples
from workers.passes.quantize import QuantizePass

__all__ = ["THIRD_PARTY", "calibration", "context", "export", "quantize", "quantized", "random", "sqnr"]

THIRD_PARTY = (
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",  # torch, when it copies a program
    "ignore:To copy construct from a tensor:UserWarning",  # torch, when Inductor lowers an int8 convolution
    "ignore:The tensor attributes self.lstm._flat_weights:UserWarning",  # torch, of its own LSTM
)
"""Warnings that torch raises against itself."""


def calibration(*inputs: torch.Tensor) -> Samples:
    """Inputs as a calibration set without labels."""
    return Samples(inputs, None)


def context(program: ExportedProgram, samples: Samples) -> PassContext:
    """A pass's context with nothing special in it."""
    return PassContext(program, samples, seed=0, max_batch=models.MAX_BATCH, progress=lambda share, doing: None)


def quantize(program: ExportedProgram, *inputs: torch.Tensor, **settings: Any) -> Applied:
    """`program` after the quantize pass, calibrated on `inputs`."""
    return QuantizePass().apply(program, Quantize.model_validate(settings), context(program, calibration(*inputs)))


@cache
def quantized(name: str) -> Applied:
    """The shared model `name` after the quantize pass."""
    return quantize(models.program(name), *models.example(name, batch=64, seed=1))


def export(module: torch.nn.Module, example: torch.Tensor) -> ExportedProgram:
    """`module` exported with a batch of 1 to `models.MAX_BATCH`."""
    shapes = ({0: Dim("batch", min=1, max=models.MAX_BATCH)},)
    return torch.export.export(module.eval(), (example,), dynamic_shapes=shapes)


def random(*shape: int) -> torch.Tensor:
    """Normal numbers, always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def sqnr(reference: torch.Tensor, value: torch.Tensor) -> float:
    """Signal-to-quantization-noise ratio in dB."""
    reference, value = reference.detach(), value.detach()
    noise = (reference - value).double().pow(2).sum()
    return float(10 * torch.log10(reference.double().pow(2).sum() / noise.clamp_min(1e-30)))
