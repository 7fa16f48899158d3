"""How far a student's outputs are from its teacher's, in a form to train with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax, mse_loss, nll_loss

from workers.passes.distill_data import Mixture

__all__ = ["distance", "floating", "label_loss"]


def floating(outputs: object) -> list[torch.Tensor]:
    """The floating-point tensors among a program's outputs, in order."""
    leaves = torch.utils._pytree.tree_leaves(outputs)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def distance(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], temperature: float, class_scores: bool
) -> torch.Tensor:
    """The mean over the outputs of one of two sums, each part about 1 for a student that knows nothing.

    1. Class scores (two dimensions, two columns or more): divergence of the softened distributions, times the squared
       temperature (Hinton et al. 2015, arXiv:1503.02531), and the squared error over the variance of the teacher's.
    2. Anything else: one minus the cosine per sample, and the same squared error.

    Args:
        class_scores: False if it is known that two-dimensional outputs are no class scores.
    """
    parts = [
        _classes(s, t, temperature) + _error(s, t)
        if class_scores and t.dim() == 2 and t.shape[1] > 1
        else _angle(s, t) + _error(s, t)
        for s, t in zip(student, teacher, strict=True)
    ]
    return torch.stack(parts).mean()


def label_loss(outputs: torch.Tensor, targets: torch.Tensor, mixture: Mixture | None) -> torch.Tensor:
    """How far the first output is from the targets: cross entropy of classes, else the squared error over its variance.

    Args:
        outputs: class scores (or probabilities) of shape (samples, classes), or values of the targets' shape.
        mixture: how the inputs were mixed; a mixed sample has both targets, each by its share.
    """
    if targets.is_floating_point():
        wanted = targets if mixture is None else _blend(targets, targets[mixture.partner], mixture)
        return mse_loss(outputs.reshape(wanted.shape), wanted) / targets.var(correction=0).clamp_min(1e-8)
    first = _entropies(outputs, targets)
    if mixture is None:
        return first.mean()
    return _blend(first, _entropies(outputs, targets[mixture.partner]), mixture).mean()


def _entropies(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if _is_distribution(outputs.detach()):
        return nll_loss(outputs.clamp_min(1e-6).log(), targets.long(), reduction="none")
    return cross_entropy(outputs, targets.long(), reduction="none")


def _blend(one: torch.Tensor, other: torch.Tensor, mixture: Mixture) -> torch.Tensor:
    share = mixture.share.reshape(-1, *[1] * (one.dim() - 1)).to(one.dtype)
    return share * one + (1 - share) * other


def _classes(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    if _is_distribution(teacher):
        student, teacher = (rows.clamp_min(1e-6).log() for rows in (student, teacher))
    soft, target = (log_softmax(rows / temperature, dim=1) for rows in (student, teacher))
    return kl_div(soft, target, reduction="batchmean", log_target=True) * temperature**2


def _is_distribution(rows: torch.Tensor) -> bool:
    """True if the model ends in a softmax, so that its outputs are probabilities already."""
    return bool((rows >= 0).all()) and bool((rows.sum(dim=1) - 1).abs().max() < 1e-3)


def _angle(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    rows = [tensor.reshape(tensor.shape[0], -1) for tensor in (student, teacher)]
    return (1 - cosine_similarity(rows[0], rows[1], dim=1)).mean()


def _error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    return mse_loss(student, teacher) / teacher.var(correction=0).clamp_min(1e-8)
