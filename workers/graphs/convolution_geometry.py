"""Where a one- or two-dimensional convolution reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

__all__ = ["CONVOLUTIONS", "Geometry", "geometry_of"]

aten = torch.ops.aten

CONVOLUTIONS = frozenset({aten.conv1d.default, aten.conv1d.padding, aten.conv2d.default, aten.conv2d.padding})
Geometry = tuple[list[int], list[int], list[tuple[int, int]], list[int]]
"""Kernel, stride, padding (zeros before and after) and dilation, each with one entry per dimension."""


def geometry_of(call: Mapping[str, Any], kernel: Sequence[int]) -> Geometry:
    """The geometry of a call, given by its arguments by name (`workers.graphs.calls.arguments`)."""
    stride, dilation = (_each(call[name], len(kernel)) for name in ("stride", "dilation"))
    return list(kernel), stride, _padding(call["padding"], kernel, dilation), dilation


def _each(value: Sequence[int], dimensions: int) -> list[int]:
    return list(value) if len(value) == dimensions else list(value) * dimensions


def _padding(value: Sequence[int] | str, kernel: Sequence[int], dilation: Sequence[int]) -> list[tuple[int, int]]:
    if value == "valid":
        return [(0, 0)] * len(kernel)
    if isinstance(value, str):
        totals = [(size - 1) * apart for size, apart in zip(kernel, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(each, each) for each in _each(value, len(kernel))]
