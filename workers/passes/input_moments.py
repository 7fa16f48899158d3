"""What the inputs of each layer look like over the calibration data: their means and second moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Interpreter, Node

from workers.graphs.layer_rows import rows_of
from workers.passes.base import Samples
from workers.passes.calibration import batches
from workers.passes.quantize_layers import Layer

__all__ = ["Moments", "input_moments", "portions"]

_MEMORY = 2**30
"""Bytes of Hessians that are held at a time; more layers than that take more runs over the data."""
_ROWS = 2**24
"""Elements of one product of rows with themselves: a bound on the patches in memory."""


@dataclass
class Moments:
    """Of what one weight is multiplied with, over all samples and places."""

    mean: torch.Tensor
    """Of shape (parts, columns): see `workers/graphs/layer_rows.py`."""
    hessian: torch.Tensor | None
    """Mean of x xᵀ, of shape (parts, columns, columns), where asked for."""


def portions(layers: Sequence[Layer], hessians: bool) -> Iterator[list[Layer]]:
    """The layers in their order, in as many portions as their Hessians need memory for."""
    portion, held = list[Layer](), 0
    for layer in layers:
        needed = 4 * sum(_columns(node) ** 2 for node in layer.weights) if hessians else 0
        if portion and held + needed > _MEMORY:
            yield portion
            portion, held = [], 0
        portion.append(layer)
        held += needed
    if portion:
        yield portion


def input_moments(
    module: GraphModule,
    program: ExportedProgram,
    calls: Iterable[Node],
    samples: Samples,
    hessians: bool,
    progress: Callable[[float], None],
) -> dict[str, Moments]:
    """Runs `module` over all samples; returns the moments of the calls' inputs by the name of the weight.

    Args:
        program: the program that `module` was made from, for the batches it takes.
    """
    watching = _Watching(module, set(calls), hessians)
    seen = 0
    with torch.no_grad():
        for batch in batches(samples, program):
            watching.run(*batch)
            seen += len(batch[0])
            progress(min(1.0, seen / len(samples)))
    return watching.moments()


class _Watching(Interpreter):
    def __init__(self, module: GraphModule, calls: set[Node], hessians: bool) -> None:
        super().__init__(module)
        self._calls, self._hessians = calls, hessians
        self._counts: dict[str, int] = {}
        self._sums: dict[str, torch.Tensor] = {}
        self._products: dict[str, torch.Tensor] = {}

    def run_node(self, n: Node) -> Any:
        if n in self._calls:
            args, _ = self.fetch_args_kwargs_from_env(n)
            for weight, rows in rows_of(n, args):
                self._see(str(weight.target), rows)
        return super().run_node(n)

    def moments(self) -> dict[str, Moments]:
        return {
            name: Moments(
                mean=(total / self._counts[name]).float(),
                hessian=self._products[name] / self._counts[name] if self._hessians else None,
            )
            for name, total in self._sums.items()
        }

    def _see(self, name: str, rows: torch.Tensor) -> None:
        """Sums are kept in double precision; products in single, for their size."""
        self._counts[name] = self._counts.get(name, 0) + rows.shape[1]
        total = rows.sum(1, dtype=torch.float64)
        self._sums[name] = self._sums[name] + total if name in self._sums else total
        if self._hessians:
            for part in rows.split(max(1, _ROWS // max(1, rows.shape[0] * rows.shape[2])), dim=1):
                product = part.transpose(1, 2) @ part
                if name in self._products:
                    self._products[name] += product
                else:
                    self._products[name] = product


def _columns(node: Node) -> int:
    return int(node.meta["val"][0].numel())
