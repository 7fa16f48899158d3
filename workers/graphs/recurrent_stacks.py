"""A stack of recurrent layers as two calls: its first layer, and those above."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch.fx import GraphModule, Node

from workers.graphs.calls import arguments

__all__ = ["split_first_layer"]

aten = torch.ops.aten


def split_first_layer(module: GraphModule, node: Node) -> tuple[Node, Node] | None:
    """Replaces a call of `lstm`, `gru` or `rnn_*` by two of the same kind, which compute the same.

    Returns:
        the calls of the first layer (of both directions, if it has two) and of the layers above; `None`, and nothing
        is changed, if there are none above, or dropout acts between them.
    """
    call = arguments(node)
    if call["num_layers"] < 2 or (call["train"] and call["dropout"]):
        return None
    directions = 2 if call["bidirectional"] else 1
    parameters = list(call["params"])
    own = len(parameters) // call["num_layers"]
    given = call["hx"] if isinstance(call["hx"], list | tuple) else [call["hx"]]
    options = (call["dropout"], call["train"], call["bidirectional"], call["batch_first"])
    with module.graph.inserting_before(node):
        starts = [_parts(module, state, directions) for state in given]
        first = _call(module, node, call["input"], [start for start, _ in starts], parameters[:own], 1, options)
        outputs = module.graph.call_function(operator.getitem, (first, 0))
        rest = [start for _, start in starts]
        above = _call(module, node, outputs, rest, parameters[own:], call["num_layers"] - 1, options)
        for user in list(node.users):
            index = user.args[1]
            found = module.graph.call_function(operator.getitem, (above, index))
            if index:
                ends = [module.graph.call_function(operator.getitem, (first, index)), found]
                found = module.graph.call_function(aten.cat.default, (ends,))
            user.replace_all_uses_with(found)
            module.graph.erase_node(user)
    module.graph.erase_node(node)
    return first, above


def _parts(module: GraphModule, state: Node, count: int) -> tuple[Node, Node]:
    """The states of the first `count` layers and directions, and of the others."""
    start = module.graph.call_function(aten.slice.Tensor, (state, 0, 0, count))
    return start, module.graph.call_function(aten.slice.Tensor, (state, 0, count))


def _call(
    module: GraphModule,
    like: Node,
    x: Node,
    states: list[Node],
    parameters: list[Node],
    layers: int,
    options: tuple[Any, ...],
) -> Node:
    has_biases = like.args[3]
    state = states if like.target is aten.lstm.input else states[0]
    assert isinstance(like.target, torch._ops.OpOverload)
    made = module.graph.call_function(like.target, (x, state, parameters, has_biases, layers, *options))
    made.meta = dict(like.meta)
    return made
