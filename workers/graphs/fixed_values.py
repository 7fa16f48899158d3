"""What in a graph depends on constants and on shapes alone: found, evaluated, and copied into another graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from workers.graphs.functional import writes
from workers.graphs.stored_values import stored_tensor

__all__ = ["evaluate", "fixed_nodes", "is_length_free", "mapped"]

_SIZE = torch.ops.aten.sym_size.int


def fixed_nodes(module: GraphModule) -> set[Node]:
    """Nodes whose value is the same for all inputs of one shape: weights, what is made of them, and sizes.

    What is written to is state, and no weight.
    """
    fixed: set[Node] = set()
    state = {node.args[0] for node in module.graph.nodes if writes(node)}
    for node in module.graph.nodes:
        if (node.op == "get_attr" and node not in state) or (
            node.op == "call_function"
            and not _random(node)
            and not writes(node)
            and (node.target is _SIZE or all(source in fixed for source in node.all_input_nodes))
        ):
            fixed.add(node)
    return fixed


def evaluate(module: GraphModule, node: Node, symbols: Mapping[Any, int], known: dict[Node, Any] | None = None) -> Any:
    """The value of a fixed node.

    Args:
        symbols: sizes by symbol; those missing are 1.
        known: values of other nodes, filled in by the call.
    """
    known = {} if known is None else known
    if node not in known:
        if node.op == "get_attr":
            known[node] = stored_tensor(module, node).detach()
        elif isinstance(value := node.meta.get("val"), torch.SymInt):
            known[node] = substituted(value, symbols)
        else:
            args, kwargs = mapped(node, lambda each: evaluate(module, each, symbols, known))
            assert callable(node.target)
            with torch.no_grad():
                known[node] = node.target(*args, **kwargs)
    return known[node]


def mapped(node: Node, change: Callable[[Node], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call with something else for each node in them."""
    args: Any = map_arg(node.args, change)
    kwargs: Any = map_arg(node.kwargs, change)
    return args, kwargs


def substituted(size: int | torch.SymInt, symbols: Mapping[Any, int]) -> int:
    """A size with its symbols replaced; those missing are 1."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression.xreplace({symbol: symbols.get(symbol, 1) for symbol in expression.free_symbols}))


def is_length_free(node: Node, length: Any) -> bool:
    """True if the symbol `length` is in none of the sizes that the node's value is or has."""
    value = node.meta.get("val")
    sizes = list(value.shape) if isinstance(value, torch.Tensor) else [value]
    return all(length not in size.node.expr.free_symbols for size in sizes if isinstance(size, torch.SymInt))


def _random(node: Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags
