"""What a value of a windowed program becomes in the program of one step."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch.fx import Node

__all__ = ["Last", "Several", "Timed", "Value"]


@dataclass(frozen=True)
class Timed:
    """A tensor with one entry per step along one axis. In the step's program that axis has length 1."""

    node: Node
    """In the step's program."""
    axis: int
    inner: int | None = None
    """If the axis holds other dimensions besides the steps (a reshape joined them): elements of it within a step's
    entry. `None`: the steps alone."""

    def at(self, node: Node, axis: int | None = None) -> Timed:
        """The same steps, in another node (and along another axis)."""
        return replace(self, node=node, axis=self.axis if axis is None else axis)


@dataclass(frozen=True)
class Last:
    """A tensor of the last step alone."""

    node: Node


@dataclass(frozen=True)
class Several:
    """Tensors that one operator gives, by index."""

    items: tuple[Timed | Last | None, ...]
    """`None`: one that nobody may read."""


Value = Timed | Last | Several
