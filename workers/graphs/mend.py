"""What the menders of calls share: which channels are kept, and how an argument is replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import Node

from workers.graphs.calls import Trace
from workers.graphs.labels import LabelArray

__all__ = ["Keep", "set_argument"]


class Keep:
    """Which channels stay.

    Attributes:
        scaled: names of tensors that were multiplied already, so that two readers don't do it twice.
    """

    def __init__(self, trace: Trace, removed: LabelArray) -> None:
        self.scaled: set[str] = set()
        self._labels, self._removed = trace.labels, removed

    def __call__(self, axis: LabelArray) -> NDArray[np.bool_]:
        """True for each channel of a dimension that stays."""
        return np.isin(self._labels.roots(axis), self._removed, invert=True)

    def count(self, axis: LabelArray) -> int:
        """How many stay."""
        return int(self(axis).sum())


def set_argument(node: Node, name: str, value: Any) -> None:
    """Sets an argument by its schema name, whether it was given by place or by name."""
    assert isinstance(node.target, torch._ops.OpOverload)
    names = [argument.name for argument in node.target._schema.arguments]
    place = names.index(name)
    if place < len(node.args):
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)
