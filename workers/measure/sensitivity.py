"""How much a program's outputs suffer when one layer alone is rounded to fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from workers.graphs.stored_values import attribute
from workers.graphs.weighted_layers import WeightedLayer
from workers.measure.quality import sqnr_db

__all__ = ["KINDS", "sensitivities"]

GROUP = 64
KINDS: Mapping[str, tuple[int, int | None]] = {"int8": (8, None), "int4": (4, GROUP), "int2": (2, GROUP)}
"""Bits, and the weights of a row that share a scale (`None`: all of them)."""


def sensitivities(
    module: GraphModule,
    layers: Sequence[WeightedLayer],
    inputs: Sequence[torch.Tensor],
    progress: Callable[[float], None],
) -> list[dict[str, float]]:
    """For each layer, the signal-to-noise ratio of the outputs, in dB, by kind of rounding of its weights.

    Weights are rounded to the nearest of symmetric codes, with the greatest value of each group as the scale: the
    roughest rounding there is, so that a better one does at least as well. `module` is as before afterwards.
    """
    with torch.inference_mode():
        exact = _outputs(module, inputs)
        found: list[dict[str, float]] = []
        for layer in layers:
            errors: dict[str, float] = {}
            for kind, (bits, group) in KINDS.items():
                with _rounded(module, layer.weights, bits, group):
                    errors[kind] = sqnr_db(exact, _outputs(module, inputs))
            found.append(errors)
            progress(len(found) / len(layers))
    return found


@contextmanager
def _rounded(module: GraphModule, names: Sequence[str], bits: int, group: int | None) -> Iterator[None]:
    """For its block, the named weights are rounded."""
    weights = [value.detach() for name in names if isinstance(value := attribute(module, name), torch.Tensor)]
    exact = [weight.clone() for weight in weights]
    for weight in weights:
        weight.copy_(_nearest(weight, bits, group))
    try:
        yield
    finally:
        for weight, kept in zip(weights, exact, strict=True):
            weight.copy_(kept)


def _nearest(weight: torch.Tensor, bits: int, group: int | None) -> torch.Tensor:
    rows = weight.flatten(1)
    most = 2 ** (bits - 1) - 1
    parts = [rows] if group is None else list(rows.split(group, dim=1))
    return torch.cat(list(_each_nearest(parts, most)), dim=1).reshape(weight.shape)


def _each_nearest(parts: Sequence[torch.Tensor], most: int) -> Iterator[torch.Tensor]:
    for part in parts:
        scale = (part.abs().amax(dim=1, keepdim=True) / most).clamp(min=torch.finfo(torch.float32).tiny)
        yield (part / scale).round().clamp(-most - 1, most) * scale


def _outputs(module: GraphModule, inputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    return [leaf.numpy() for leaf in pytree.tree_leaves(module(*inputs)) if isinstance(leaf, torch.Tensor)]
