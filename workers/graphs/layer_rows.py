"""What a layer multiplies each of its weights with, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.fx import Node
from torch.nn import functional

__all__ = ["rows_of"]

aten = torch.ops.aten

_PADDED = frozenset({aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding})
_CONVOLUTIONS = frozenset({aten.conv1d.default, aten.conv2d.default, aten.conv3d.default}) | _PADDED
_GATED = frozenset({aten.lstm.input})
_RECURRENT = frozenset({aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input}) | _GATED

_ELEMENTS = 2**24
"""Of the patches that are in memory at a time: a kernel sees each pixel once per position."""


def rows_of(node: Node, args: Sequence[Any]) -> Iterator[tuple[Node, torch.Tensor]]:
    """For each weight of a call its inputs, of shape (parts, rows, columns): output = rows · weightᵀ.

    `parts` are the groups of a grouped convolution, whose outputs come in that many equal parts, else 1. A table has
    none, and neither has the projection of an LSTM, whose inputs stay inside. Many patches come in several portions.

    Args:
        args: values of the call's arguments.
    """
    if node.target is aten.linear.default:
        yield _node(node.args[1]), args[0].reshape(1, -1, args[0].shape[-1])
    elif node.target in _CONVOLUTIONS:
        step = max(1, _ELEMENTS // max(1, args[0][0].numel() * args[1][0, 0].numel()))
        for part in args[0].split(step):
            yield _node(node.args[1]), _patches(node, [part, *args[1:]])
    elif node.target in _RECURRENT:
        yield from _recurrent(node, args)


def _patches(node: Node, args: Sequence[Any]) -> torch.Tensor:
    """The patches of an image that a kernel sees, one row each."""
    x, weight = args[:2]
    spatial = weight.dim() - 2
    given = [*args[3:7], *[None] * 4][:4]
    stride, dilation = (_wide(given[at] or 1, spatial) for at in (0, 2))
    groups = given[3] or 1
    padding = (
        _padding(given[1], weight.shape[2:], dilation) if node.target in _PADDED else _both(given[1] or 0, spatial)
    )
    x = functional.pad(x, padding)
    for axis in range(spatial):
        reach = (weight.shape[2 + axis] - 1) * dilation[axis] + 1
        x = x.unfold(2 + axis, reach, stride[axis])[..., :: dilation[axis]]
    # (batch, channels, *places, *kernel) → (groups, batch · places, channels / groups · kernel)
    batch, channels = x.shape[:2]
    places, kernel = x.shape[2 : 2 + spatial], x.shape[2 + spatial :]
    parted = x.reshape(batch, groups, channels // groups, places.numel(), kernel.numel())
    return parted.permute(1, 0, 3, 2, 4).reshape(groups, -1, channels // groups * kernel.numel())


def _padding(words: str, kernel: torch.Size, dilation: list[int]) -> list[int]:
    totals = [0 if words == "valid" else (size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
    return [side for total in reversed(totals) for side in (total // 2, total - total // 2)]


def _both(padding: Any, spatial: int) -> list[int]:
    return [side for each in reversed(_wide(padding, spatial)) for side in (each, each)]


def _wide(value: Any, count: int) -> list[int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return values * count if len(values) == 1 else values


def _recurrent(node: Node, args: Sequence[Any]) -> Iterator[tuple[Node, torch.Tensor]]:
    """Runs the stack layer by layer, since the call tells nothing of what its layers hand on."""
    x, state, parameters, biased, layers, _, _, bidirectional, batch_first = args
    nodes = node.args[2]
    assert isinstance(nodes, list | tuple)
    x = x.transpose(0, 1) if batch_first else x
    directions = 2 if bidirectional else 1
    each = len(parameters) // (layers * directions)
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            index = layer * directions + direction
            own = parameters[index * each : (index + 1) * each]
            names = nodes[index * each : (index + 1) * each]
            given = x.flip(0) if direction else x
            start = [part[index : index + 1] for part in (state if node.target in _GATED else [state])]
            output = _one_layer(node.target, given, start, own, biased)
            yield _node(names[0]), given.reshape(1, -1, given.shape[-1])
            hidden = torch.cat([start[0], output[:-1]])
            yield _node(names[1]), hidden.reshape(1, -1, hidden.shape[-1])
            outputs.append(output.flip(0) if direction else output)
        x = torch.cat(outputs, dim=-1)


def _one_layer(target: Any, x: torch.Tensor, start: list[torch.Tensor], own: Any, biased: bool) -> torch.Tensor:
    state = start if target in _GATED else start[0]
    output: torch.Tensor = target(x, state, own, biased, 1, 0.0, False, False, False)[0]
    return output


def _node(argument: Any) -> Node:
    assert isinstance(argument, Node)
    return argument
