"""What Burnish tells torch's ONNX exporter of operators that it would write otherwise, or can't write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset18

from workers.graphs.onnx_attention import attention

__all__ = ["TRANSLATION"]

op: Any = opset18
"""Its types are those of calls that compute, and these are recorded."""


def _subtracted_from(value: Any, number: Any, alpha: Any = 1) -> Any:
    """`number - alpha · value`, as `1.0 - mask`.

    Integers become float32 where a number is a float, as in torch. Of those the exporter would find no operator.
    `number` may be a length that is known when the model runs.
    """
    if any(isinstance(each, float) for each in (number, alpha)) and not value.dtype.is_floating_point():
        value = op.Cast(value, to=ir.DataType.FLOAT)
    taken = value if alpha == 1 else op.Mul(op.CastLike(alpha, value), value)
    return op.Sub(op.CastLike(number, value), taken)


TRANSLATION: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.scaled_dot_product_attention.default: attention,
    torch.ops.aten.rsub.Scalar: _subtracted_from,
}
