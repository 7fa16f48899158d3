"""The window of steps that a program takes: which inputs, how long, and how long a sequence may be."""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from workers.graphs.calls import Sizes
from workers.graphs.fixed_values import evaluate
from workers.graphs.reexport import dimensions

__all__ = ["CantCarry", "Window"]

_LONGEST = 2**20
_UNBOUNDED = 2**62


class CantCarry(Exception):
    """The program can't be turned into one that carries state. The text says why, and what to do instead."""


class Window:
    """Facts about the inputs of a program whose inputs all have the same number of steps along one axis.

    Attributes:
        module: the program's graph with its weights.
        axis: of the steps, in each input.
        inputs: the placeholders.
        batch: a symbol, or a number where the export fixed it.
        length: of the window: a symbol, or a number.
    """

    def __init__(self, program: ExportedProgram, axis: int, max_length: int | None) -> None:
        """Raises `CantCarry`: an input has no such axis, or the inputs differ along it."""
        self.module: GraphModule = program.module(check_guards=False)
        self.axis = axis
        self.inputs: list[Node] = [node for node in self.module.graph.nodes if node.op == "placeholder"]
        shapes = [dimensions(node.meta["val"]) for node in self.inputs]
        for node, shape in zip(self.inputs, shapes, strict=True):
            if len(shape) <= axis:
                raise CantCarry(
                    f"The input {node.name} has {len(shape)} dimensions, so none of steps at axis {axis}. "
                    "Export a model whose inputs are windows of steps, or set `time_axis`."
                )
        lengths = {str(shape[axis]) for shape in shapes}
        if len(lengths) != 1:
            raise CantCarry(
                f"Its inputs have different sizes along axis {axis}: {', '.join(sorted(lengths))}. Export a model "
                "whose inputs all have the same number of steps there."
            )
        self.batch, self.length = _plain(shapes[0][0]), _plain(shapes[0][axis])
        self._bounds = program.range_constraints
        self._sizes = Sizes(self.module.graph)
        self._most = max_length
        self._known: dict[Node, Any] = {}

    @property
    def steps(self) -> int:
        """A number for the length in concrete shapes: the length itself, or a prime that no other size has."""
        return self.shape(self.inputs[0])[self.axis]

    def shape(self, node: Node) -> tuple[int, ...]:
        """The shape of a node's tensor with numbers for the symbols."""
        return self._sizes.of(node.meta["val"])[0]

    def is_length(self, size: int | torch.SymInt) -> bool:
        """True if a size is the length of the window."""
        return _plain(size) == self.length and size != 1

    @property
    def most_steps(self) -> int:
        """Steps that a sequence may have where that must be bounded.

        Raises:
            CantCarry: nothing bounds it, or it is longer than a window of fixed length.
        """
        if isinstance(self.length, int):
            if self._most not in (None, self.length):
                raise CantCarry(
                    f"Its window was exported with a fixed length of {self.length}, and what depends on the position "
                    f"is known for that length alone. Leave `max_length` out, or export the model with a dynamic "
                    "length."
                )
            return self.length
        if self._most is not None:
            return self._most
        _, upper = self.lengths
        if upper > _LONGEST:
            raise CantCarry("The length of its window has no upper bound. Set `max_length`.")
        return upper

    @property
    def lengths(self) -> tuple[int, int]:
        """Least and greatest length of the window."""
        if isinstance(self.length, int):
            return self.length, self.length
        bounds = self._bounds.get(self.length)
        if bounds is None:
            return 1, _UNBOUNDED
        return max(1, int(bounds.lower)), int(bounds.upper) if bounds.upper.is_Integer else _UNBOUNDED

    def evaluated(self, node: Node) -> torch.Tensor:
        """The value of a fixed node for the longest sequence, at batch 1 (which broadcasts over the batch).

        A window of fixed length has tables of that length; only their beginning is needed for a shorter sequence.
        """
        symbols = {} if isinstance(self.length, int) else {self.length: self.most_steps}
        try:
            found: torch.Tensor = evaluate(self.module, node, symbols, self._known)
        except (RuntimeError, IndexError) as error:
            raise CantCarry(
                f"`{node.name}` can't be computed for {self.most_steps} steps: {str(error).splitlines()[0]}. Lower "
                "`max_length`."
            ) from error
        return found

    def table(self, node: Node, axis: int) -> torch.Tensor:
        """The value of a fixed node that has one entry per position along `axis`, cut to the longest sequence."""
        table = self.evaluated(node)
        if table.shape[axis] < self.most_steps:
            raise CantCarry(
                f"`{node.name}` knows {table.shape[axis]} positions, and a sequence may have {self.most_steps}. Lower "
                "`max_length`."
            )
        return table.narrow(axis, 0, self.most_steps)


def _plain(size: int | torch.SymInt) -> Any:
    return size if isinstance(size, int) else size.node.expr
