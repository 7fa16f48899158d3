"""Attention in ONNX: as torch computes it, in the order of operations of which OpenVINO makes one kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript import opset18

__all__ = ["attention"]

op: Any = opset18
"""Its types are those of calls that compute, and these are recorded."""


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """What torch's ONNX exporter is told of `scaled_dot_product_attention`: softmax((query·keyᵀ) scale + mask)·value.

    By itself it multiplies query and key by the root of the scale each, and turns the key around on the way: passes
    over memory that OpenVINO runs one by one. In this order its kernel reads the key as it lies, and the one factor
    goes where it costs least.

    1. Keys come before their query or with it if `is_causal`: no row of that mask is empty.
    2. A row of a mask that is given may be, such as that of a sample of padding alone: it gives 0, as in torch.
       Its scores are finite (half of the least number, so that adding one does not make it -∞, not in float16 either)
       and its outcome is multiplied by 0: OpenVINO 2026.4 can't compile a choice between it and 0.
    3. Heads that share a key read it from copies.

    Args:
        dropout_p: 0; a program that is random is none.
    """
    if enable_gqa:  # rule 3
        key, value = (_for_each_head(each, query.shape[-3]) for each in (key, value))
    rank = len(query.shape)
    scores = op.MatMul(query, op.Transpose(key, perm=[*range(rank - 2), rank - 1, rank - 2]))
    scores = op.Mul(scores, _number(1.0 / math.sqrt(query.shape[-1]) if scale is None else scale, query))
    if is_causal:  # rule 1
        scores = op.Add(scores, _future(query, key))
    if attn_mask is None:
        return op.MatMul(op.Softmax(scores, axis=-1), value)
    least = _number(query.dtype.min / 2, query)
    if attn_mask.dtype is ir.DataType.BOOL:
        visible = attn_mask
        attn_mask = op.Where(visible, _number(0.0, query), least)
    else:
        visible = op.Greater(attn_mask, _number(-math.inf, attn_mask))
        attn_mask = op.Max(attn_mask, least)
    found = op.MatMul(op.Softmax(op.Add(scores, attn_mask), axis=-1), value)
    seeing = op.ReduceMax(op.Cast(visible, to=ir.DataType.FLOAT), op.Constant(value_ints=[-1]), keepdims=1)
    return op.Mul(found, op.CastLike(seeing, found))  # rule 2


def _for_each_head(shared: Any, heads: int) -> Any:
    """Keys or values (…, groups, steps, width) → (…, heads, steps, width), each group's as often as heads read it."""
    groups = shared.shape[-3]
    which = np.arange(heads, dtype=np.int64) * groups // heads
    return op.Gather(shared, op.Constant(value=ir.tensor(which)), axis=len(shared.shape) - 3)


def _future(query: Any, key: Any) -> Any:
    """-∞ where a key lies behind its query, else 0."""
    lengths = [op.Shape(each, start=-2, end=-1) for each in (query, key)]
    whole = op.Expand(_number(-math.inf, query), op.Concat(*lengths, axis=0))
    return op.Trilu(whole, op.Constant(value_int=1), upper=1)


def _number(value: float, like: Any) -> Any:
    return op.Constant(value=ir.tensor(value, dtype=like.dtype))
