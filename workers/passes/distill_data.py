"""What the student is shown: batches of the calibration data, mixed and with noise if that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

__all__ = ["NOISE", "Inputs", "Mixture", "augmented", "chunks", "held_back", "noisy", "shuffled"]

Inputs = tuple[torch.Tensor, ...]
NOISE = 0.05
"""Of the added noise, relative to the standard deviation of the batch."""


@dataclass(frozen=True)
class Mixture:
    """How the samples of a batch were mixed: sample i is `share[i]` of itself and the rest of sample `partner[i]`."""

    share: torch.Tensor
    partner: torch.Tensor


def held_back(rows: Inputs, share: float, generator: torch.Generator) -> tuple[Inputs, Inputs]:
    """Splits the rows at random into those to train on and those to judge by; a single one is both."""
    count = len(rows[0])
    order = torch.randperm(count, generator=generator)
    judged = max(1, round(count * share))
    train = order[judged:] if count > 1 else order
    return tuple(x[train] for x in rows), tuple(x[order[:judged]] for x in rows)


def shuffled(inputs: Inputs, generator: torch.Generator) -> Inputs:
    """The samples in random order."""
    order = torch.randperm(len(inputs[0]), generator=generator)
    return tuple(x[order] for x in inputs)


def chunks(inputs: Inputs, size: int, least: int) -> Iterator[Inputs]:
    """The samples in order, `size` at a time; a last chunk below `least` is filled up from the front."""
    for start in range(0, len(inputs[0]), size):
        chunk = tuple(x[start : start + size] for x in inputs)
        missing = max(least - len(chunk[0]), 0)
        more = torch.arange(missing) % len(inputs[0])
        yield tuple(torch.cat([part, x[more]]) for part, x in zip(chunk, inputs, strict=True))


def augmented(batch: Inputs, generator: torch.Generator, noise: bool = True) -> tuple[Inputs, Mixture | None]:
    """Changes floating-point inputs; a batch with integers among its inputs, such as tokens, is not mixed.

    A sample in two is mixed with another one of the batch, by a share drawn evenly (mixup, Zhang et al. 2018,
    arXiv:1710.09412; the teacher answers for the mixture, so there are no labels to mix). All get normal noise, unless
    that is left out.
    """
    mixture = None
    if all(x.is_floating_point() for x in batch):
        count = len(batch[0])
        share = torch.rand(count, generator=generator)
        share[torch.rand(count, generator=generator) < 0.5] = 1.0
        mixture = Mixture(share, torch.randperm(count, generator=generator))
    return tuple(_changed(x, mixture, generator if noise else None) for x in batch), mixture


def noisy(batch: Inputs, generator: torch.Generator) -> Inputs:
    """Floating-point inputs with normal noise."""
    return tuple(_changed(x, None, generator) for x in batch)


def _mixed(x: torch.Tensor, mixture: Mixture) -> torch.Tensor:
    weight = mixture.share.reshape(-1, *[1] * (x.dim() - 1)).to(x.dtype)
    return weight * x + (1 - weight) * x[mixture.partner]


def _changed(x: torch.Tensor, mixture: Mixture | None, generator: torch.Generator | None) -> torch.Tensor:
    mixed = x if mixture is None else _mixed(x, mixture)
    return mixed if generator is None or not x.is_floating_point() else mixed + _noise(x, generator)


def _noise(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(x.shape, generator=generator).to(x.dtype) * x.std(correction=0) * NOISE
