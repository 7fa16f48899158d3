"""Causal self-attention as one step over the keys and values kept so far.

1. Keys and values go to buffers of the longest sequence's length, at the position; what lies behind is masked. A buffer
   comes in and a changed copy goes out, as of any state: nothing is overwritten in place.
2. A mask that is given, be it of booleans or added, is a constant that hides all later steps. Its row at the position
   is what the step reads, so biases by distance (ALiBi; Press et al. 2022, arXiv:2108.12409) and local windows hold.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from workers.graphs.calls import arguments
from workers.graphs.reexport import dimensions
from workers.graphs.step_builder import StepBuilder, aten
from workers.graphs.step_values import Timed
from workers.graphs.window import CantCarry

__all__ = ["attention"]

_HIDDEN = -1e4
"""An added mask hides what it lowers by so much: the exponential of it is zero in float32."""


def attention(builder: StepBuilder, node: Node) -> Timed:
    """`scaled_dot_product_attention` over the steps of the window.

    Raises:
        CantCarry: it is not causal, its mask depends on the inputs, or query and keys differ in their steps.
    """
    args = arguments(node)
    query, key, value = (builder.values[args[name]] for name in ("query", "key", "value"))
    for source, name in zip((query, key, value), ("query", "key", "value"), strict=True):
        rank = args[name].meta["val"].dim()
        if not isinstance(source, Timed) or source.inner is not None or source.axis != rank - 2:
            raise CantCarry(f"The {name} of `{node.name}` does not have the steps as its last but one dimension.")
    assert isinstance(query, Timed)
    mask = _mask(builder, node, args)
    keys, values = (_buffer(builder, args[name], name) for name in ("key", "value"))
    out = builder.call(
        aten.scaled_dot_product_attention.default, query.node, keys, values, mask, 0.0, False,
        scale=args["scale"], enable_gqa=args["enable_gqa"],
    )  # fmt: skip
    return query.at(out)


def _buffer(builder: StepBuilder, source: Node, what: str) -> Node:
    """Rule 1: the keys or values of all steps so far, this one's among them."""
    timed = builder.values[source]
    assert isinstance(timed, Timed)
    shape = list(dimensions(source.meta["val"]))
    shape[timed.axis] = builder.window.most_steps
    position = builder.position
    state = builder.state(what, tuple(shape), source.meta["val"].dtype)
    here = builder.call(aten.eq.Tensor, _numbers(builder), position)
    here = builder.call(aten.reshape.default, here, [-1, 1])  # along the last but one dimension
    after = builder.call(aten.where.self, here, timed.node, state)
    builder.carry(state, after)
    return after


def _mask(builder: StepBuilder, node: Node, args: dict[str, Any]) -> Node:
    """Rule 2: what the step at the position sees, broadcastable to (…, 1, longest sequence)."""
    given = args["attn_mask"]
    if given is None:
        if not args["is_causal"]:
            raise CantCarry(
                f"`{node.name}` has no causal mask: every step sees later ones, so adding one changes all results. "
                "Leave `cache` out, or train a model with `is_causal=True`."
            )
        seen = builder.call(aten.le.Tensor, _numbers(builder), builder.position)
        return builder.call(aten.reshape.default, seen, [1, -1])
    if given not in builder.fixed:
        raise CantCarry(
            f"The mask of `{node.name}` depends on the inputs. Export a model whose mask is causal and constant."
        )
    return _row(builder, node, given)


def _row(builder: StepBuilder, node: Node, given: Node) -> Node:
    rank = given.meta["val"].dim()
    if rank < 2 or not (builder.is_table(given, rank - 2) and builder.is_table(given, rank - 1)):
        raise CantCarry(f"The mask of `{node.name}` has no row for each step, so it is not causal. Leave `cache` out.")
    builder.window.table(given, rank - 1)
    mask = builder.window.table(given, rank - 2).narrow(rank - 1, 0, builder.window.most_steps).contiguous()
    later = torch.ones(mask.shape[-2:], dtype=torch.bool).triu(1)
    hidden = ~mask if mask.dtype is torch.bool else mask <= _HIDDEN
    if not bool(hidden[..., later].all()):
        raise CantCarry(
            f"The mask of `{node.name}` lets steps see later ones, so adding one changes all results. Leave `cache` "
            "out."
        )
    stored = builder.constant(f"{given.name}_rows", mask)
    return builder.call(aten.index_select.default, stored, rank - 2, builder.position)


def _numbers(builder: StepBuilder) -> Node:
    """0, 1, …: the positions of the longest sequence."""
    return builder.constant("positions", torch.arange(builder.window.most_steps))
