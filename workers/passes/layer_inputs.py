"""What each layer reads on the calibration data, layer after layer, while the layers before it change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter, Node
from torch.nn.functional import pad, unfold

from workers.graphs.calls import arguments
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
        node: a call of `linear`, `conv1d` or `conv2d`.

    Returns:
        float64 of shape (groups, columns, columns), columns as in `prunable_weights.columns_last`.
    """
    rows = _linear_rows if "groups" not in arguments(node) else _convolution_rows
    total = None
    for whole in inputs:
        for start in range(0, len(whole), SAMPLES_AT_ONCE):
            x = rows(node, whole[start : start + SAMPLES_AT_ONCE].float())
            part = (x.mT @ x).double()
            total = part if total is None else total + part
    assert total is not None
    return total


def _linear_rows(node: Node, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(1, -1, x.shape[-1])


def _convolution_rows(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The pixels under the kernel at each place, of shape (groups, places, pixels · channels of a group)."""
    given = arguments(node)
    weight = given["weight"].meta["val"]
    flat = weight.dim() == 3  # one-dimensional: as an image of one row
    kernel = (1, int(weight.shape[2])) if flat else (int(weight.shape[2]), int(weight.shape[3]))
    stride, dilation = (_pair(given[name], flat, 1) for name in ("stride", "dilation"))
    x = x.unsqueeze(2) if flat else x
    x = pad(x, _padding(given["padding"], kernel, dilation, flat))
    columns = unfold(x, kernel, dilation=dilation, stride=stride)
    groups = int(given["groups"])
    parts = columns.reshape(len(x), groups, x.shape[1] // groups, kernel[0] * kernel[1], -1)
    return parts.permute(1, 0, 4, 3, 2).reshape(groups, len(x) * columns.shape[-1], -1)


def _pair(value: Any, flat: bool, neutral: int) -> tuple[int, int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return (neutral, numbers[0]) if flat else (numbers[0], numbers[-1])


def _padding(value: Any, kernel: tuple[int, int], dilation: tuple[int, int], flat: bool) -> list[int]:
    """As `torch.nn.functional.pad` takes it: left, right, top, bottom."""
    if isinstance(value, str):
        spans = [step * (size - 1) if value == "same" else 0 for step, size in zip(dilation, kernel, strict=True)]
        sides = [(span // 2, span - span // 2) for span in spans]
    else:
        sides = [(each, each) for each in _pair(value, flat, 0)]
    return [number for side in reversed(sides) for number in side]
