"""Names for tensors that a rewrite stores, so that none takes the place of another's."""

from __future__ import annotations

from itertools import count

from torch.fx import GraphModule

__all__ = ["free_name"]


def free_name(module: GraphModule, wanted: str) -> str:
    """`wanted`, or with a number behind it if a tensor or a module is stored under that name.

    Args:
        wanted: a dotted name, whose owner is a submodule of `module`.
    """
    owner, _, attribute = wanted.rpartition(".")
    held = module.get_submodule(owner)
    numbered = (attribute if not number else f"{attribute}_{number}" for number in count())
    free = next(each for each in numbered if getattr(held, each, None) is None)
    return f"{owner}.{free}" if owner else free
