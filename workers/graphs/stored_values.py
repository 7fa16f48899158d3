"""What a module stores under the dotted names that `get_attr` nodes read: read and replaced."""

from __future__ import annotations

from functools import reduce

import torch
from torch.fx import GraphModule, Node

__all__ = ["attribute", "set_attribute", "stored_double", "stored_tensor"]


def attribute(module: torch.nn.Module, name: str) -> object:
    """What `module` holds under a dotted name."""
    return reduce(getattr, name.split("."), module)


def set_attribute(module: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    """Puts a tensor under a dotted name; a parameter in the place of one, any other tensor in that of a buffer."""
    owner, _, last = name.rpartition(".")
    setattr(module.get_submodule(owner), last, value)


def stored_tensor(module: GraphModule, node: object) -> torch.Tensor:
    """The tensor that a `get_attr` node reads: the stored one itself, a parameter if it is one."""
    assert isinstance(node, Node)
    assert node.op == "get_attr"
    value = attribute(module, str(node.target))
    assert isinstance(value, torch.Tensor)
    return value


def stored_double(module: GraphModule, node: object, default: float) -> torch.Tensor:
    """A stored tensor in double precision; `default` where there is none."""
    if node is None:
        return torch.tensor(default, dtype=torch.float64)
    return stored_tensor(module, node).detach().double()
