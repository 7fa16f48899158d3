"""Gradients of a program's loss on the calibration data, for importance by the change of the loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.fx import GraphModule
from torch.nn.functional import cross_entropy, mse_loss, nll_loss

from workers.passes.base import PassContext
from workers.passes.distill_data import Inputs, chunks
from workers.passes.distill_loss import distance, floating
from workers.programs import batch_range

__all__ = ["Gradients", "gradients"]

Gradients = dict[str, torch.Tensor]
"""By the names of the parameters (all names of a shared one); zero where the loss does not depend on it."""
BATCH = 32
MOST_SAMPLES = 512
NOISE = 0.1
"""Of the noise on floating-point inputs, relative to their standard deviation; and the share of integers changed."""


def gradients(module: GraphModule, context: PassContext) -> Iterator[Gradients]:
    """The gradients of one batch after the other, of a module with weights of its own.

    1. With labels that fit the first output the loss is the task's: cross-entropy of class numbers, mean squared error
       of numbers of the output's shape.
    2. Else it is the distance of distillation (`workers.passes.distill_loss`) between the program's outputs on inputs
       with noise and the original's on clean ones. Without noise an unchanged program would have no gradient at all.
    """
    every = module.named_parameters(remove_duplicate=False)
    names = {name: tensor for name, tensor in every if tensor.is_floating_point()}
    for tensor in names.values():
        tensor.requires_grad_()
    least, most = batch_range(context.original)
    size = max(least, min(BATCH, most or BATCH))
    samples = context.calibration
    count = min(len(samples), MOST_SAMPLES)
    data = tuple(x[:count] for x in samples.inputs)
    targets = _usable(samples.targets, module, tuple(x[: max(least, 1)] for x in data))
    whole = data if targets is None else (*data, targets[:count])
    loss = _Loss(context, labelled=targets is not None)
    for batch in chunks(whole, size, least):
        module.zero_grad(set_to_none=True)
        loss(module, batch).backward()
        yield {
            name: torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.detach().clone()
            for name, tensor in names.items()
        }


class _Loss:
    def __init__(self, context: PassContext, *, labelled: bool) -> None:
        self._labelled = labelled
        self._generator = torch.Generator().manual_seed(context.seed)
        self._teacher = context.original.module(check_guards=False)
        targets = context.calibration.targets
        self._class_scores = targets is None or not targets.is_floating_point()

    def __call__(self, module: torch.nn.Module, batch: Inputs) -> torch.Tensor:
        if self._labelled:
            return _task_loss(floating(module(*batch[:-1]))[0], batch[-1])
        with torch.no_grad():
            answers = floating(self._teacher(*batch))
        return distance(floating(module(*self._noisy(batch))), answers, 1.0, self._class_scores)

    def _noisy(self, batch: Inputs) -> Inputs:
        return tuple(self._changed(x) for x in batch)

    def _changed(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_floating_point():
            return x + torch.randn(x.shape, generator=self._generator).to(x.dtype) * x.std(correction=0) * NOISE
        # Numbers such as tokens: some are replaced by what another sample has there.
        other = x[torch.randperm(len(x), generator=self._generator)]
        return torch.where(torch.rand(x.shape, generator=self._generator) < NOISE, other, x)


def _usable(targets: torch.Tensor | None, module: torch.nn.Module, example: Inputs) -> torch.Tensor | None:
    """The labels, if the first floating-point output can be compared with them."""
    if targets is None:
        return None
    with torch.no_grad():
        output = floating(module(*example))[0]
    if targets.is_floating_point():
        return targets if targets.shape[1:] == output.shape[1:] else None
    fits = targets.dim() == output.dim() - 1 and targets.shape[1:] == output.shape[1:-1]
    return targets.long() if fits and bool((targets >= 0).all()) and int(targets.max()) < output.shape[-1] else None


def _task_loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if targets.is_floating_point():
        return mse_loss(output, targets.to(output.dtype))
    rows = output.reshape(-1, output.shape[-1])
    if bool((rows >= 0).all()) and bool((rows.detach().sum(1) - 1).abs().max() < 1e-3):  # it ends in a softmax
        return nll_loss(rows.clamp_min(1e-12).log(), targets.reshape(-1))
    return cross_entropy(rows, targets.reshape(-1))
