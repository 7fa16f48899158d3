"""What a module stores under the dotted names that `get_attr` nodes read."""

from __future__ import annotations

from functools import reduce

import torch
from torch.fx import GraphModule, Node

__all__ = ["attribute", "stored_tensor"]


def attribute(module: torch.nn.Module, name: str) -> object:
    """What `module` holds under a dotted name."""
    return reduce(getattr, name.split("."), module)


def stored_tensor(module: GraphModule, node: object) -> torch.Tensor:
    """The tensor that a `get_attr` node reads: the stored one itself, a parameter if it is one."""
    assert isinstance(node, Node)
    assert node.op == "get_attr"
    value = attribute(module, str(node.target))
    assert isinstance(value, torch.Tensor)
    return value
