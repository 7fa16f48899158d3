"""What each layer reads on the calibration data, layer after layer, while the layers before it change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node

from workers.graphs.calls import arguments
from workers.graphs.layer_rows import rows_of
from workers.passes.distill_data import Inputs

__all__ = ["hessian", "walk"]

SAMPLES_AT_ONCE = 8
"""Of one unfolded input: bounds its memory."""


def walk(module: GraphModule, batches: Iterable[Inputs], before: Callable[[Node, list[Any]], None]) -> None:
    """Runs all batches through the graph side by side, one call after the other.

    Args:
        before: called ahead of each call with its first argument for each batch. It may change the call's weights, so
            that all later layers see the outputs of the changed ones.
    """
    runs = []
    for inputs in batches:
        run = Interpreter(module, garbage_collect_values=False)
        run.args_iter = iter(module.graph.process_inputs(*inputs))
        runs.append(run)
    last = {source: node for node in module.graph.nodes for source in node.all_input_nodes}
    with torch.no_grad():
        for node in module.graph.nodes:
            if node.op == "output":
                return
            if node.op == "call_function" and node.args and isinstance(node.args[0], Node):
                before(node, [run.env[node.args[0]] for run in runs])
            for run in runs:
                run.env[node] = run.run_node(node)
                for source in node.all_input_nodes:
                    if last[source] is node:
                        del run.env[source]


def hessian(node: Node, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """The sum of x xᵀ over all that the layer multiplies its weight by.

    Args:
        node: a call of `linear`, `conv1d`, `conv2d` or `conv3d`.

    Returns:
        float64 of shape (groups, columns, columns), columns as in `prunable_weights.columns_last`.
    """
    given = arguments(node)
    weight = given["weight"].meta["val"]
    others = [given.get(name) for name in ("bias", "stride", "padding", "dilation", "groups")]
    total: torch.Tensor | None = None
    for whole in inputs:
        for start in range(0, len(whole), SAMPLES_AT_ONCE):
            for _, rows in rows_of(node, [whole[start : start + SAMPLES_AT_ONCE].float(), weight, *others]):
                x = rows.unflatten(2, (weight.shape[1], -1)).transpose(2, 3).flatten(2)
                part = (x.mT @ x).double()
                total = part if total is None else total + part
    assert total is not None
    return total
