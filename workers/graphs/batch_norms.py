"""Batch norms of an exported graph, and their statistics measured anew."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node

__all__ = ["batch_norms", "recalibrate"]

_PLAIN = torch.ops.aten.batch_norm.default
_DECOMPOSED = torch.ops.aten._native_batch_norm_legit_no_training.default


def batch_norms(module: GraphModule) -> list[Node]:
    """The batch norms that use stored statistics."""
    return [
        node
        for node in module.graph.nodes
        if node.target is _DECOMPOSED or (node.target is _PLAIN and not node.args[5] and node.args[3] is not None)
    ]


def recalibrate(module: GraphModule, batches: Iterable[tuple[torch.Tensor, ...]]) -> None:
    """Sets the stored mean and variance of each batch norm to those of the data, in place.

    After channels were removed, the sums behind a batch norm have another distribution than the stored one. Each batch
    is normalized by its own statistics on the way, so that later layers see what they will see afterwards.
    """
    norms = batch_norms(module)
    if not norms:
        return
    with torch.no_grad():
        measuring = _Measuring(module, norms)
        for inputs in batches:
            measuring.run(*inputs)
        measuring.store()


class _Measuring(Interpreter):
    """Runs the graph with batch statistics, and sums them up."""

    def __init__(self, module: GraphModule, norms: list[Node]) -> None:
        super().__init__(module)
        self._norms = frozenset(norms)
        self._sums: dict[Node, tuple[torch.Tensor, torch.Tensor, int]] = {}
        self._stored: dict[Node, tuple[torch.Tensor, torch.Tensor]] = {}

    def run_node(self, n: Node) -> Any:
        if n not in self._norms:
            return super().run_node(n)
        args, _ = self.fetch_args_kwargs_from_env(n)
        x, mean, variance = args[0], args[3], args[4]
        dims = [dim for dim in range(x.dim()) if dim != 1]
        batch_variance, batch_mean = torch.var_mean(x, dims, correction=0)
        total, squares, count = self._sums.get(n, (torch.zeros_like(mean), torch.zeros_like(mean), 0))
        samples = x.numel() // x.shape[1]
        self._stored[n] = (mean, variance)
        self._sums[n] = (
            total + batch_mean * samples,
            squares + (batch_variance + batch_mean.square()) * samples,
            count + samples,
        )
        target: Any = n.target
        return target(x, args[1], args[2], batch_mean, batch_variance, *args[5:])

    def store(self) -> None:
        """Writes the statistics of all data seen into the module's buffers."""
        for node, (total, squares, count) in self._sums.items():
            mean, variance = self._stored[node]
            mean.copy_(total / count)
            variance.copy_((squares / count - mean.square()).clamp_min(0) * count / max(count - 1, 1))
