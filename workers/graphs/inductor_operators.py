"""The operators that stand for our kernels in a program that Inductor compiles.

They have a shape and no implementation: Inductor writes a call of the C function instead, which is linked into the
package. Nothing of this has to be there where the package runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.library import Library, register_fake

__all__ = ["SHIMS", "Shim", "convolution", "gru", "linear", "lstm"]

_LIBRARY = Library("burnish", "FRAGMENT")
_CELL = (
    "Tensor input_weight, Tensor state_weight, Tensor? input_bias, Tensor? state_bias, int columns, int input_bits, "
    "int input_group, int input_zeros, int hidden, int state_bits, int state_group, int state_zeros, int rounded, "
    "int reversed"
)
_SCHEMAS = {
    "low_bit_linear": (
        "(Tensor x, Tensor weight, Tensor? bias, int outputs, int columns, int bits, int group, int has_zeros, "
        "int rounded) -> Tensor"
    ),
    "low_bit_convolution": (
        "(Tensor x, Tensor weight, Tensor? bias, int outputs, int columns, int bits, int group, int has_zeros, "
        "int kernel_high, int kernel_wide, int stride_high, int stride_wide, int above, int below, int left, "
        "int right, int dilation_high, int dilation_wide) -> Tensor"
    ),
    "low_bit_lstm": f"(Tensor x, Tensor state, Tensor cell, {_CELL}) -> (Tensor, Tensor, Tensor)",
    "low_bit_gru": f"(Tensor x, Tensor state, {_CELL}) -> (Tensor, Tensor)",
}
for _name, _schema in _SCHEMAS.items():
    _LIBRARY.define(_name + _schema)


@register_fake("burnish::low_bit_linear", lib=_LIBRARY)  # type: ignore[untyped-decorator]  # torch
def _linear(x: torch.Tensor, weight: torch.Tensor, bias: object, outputs: int, columns: int, *_: int) -> torch.Tensor:
    torch._check(x.shape[-1] == columns)
    return x.new_empty((*x.shape[:-1], outputs))


@register_fake("burnish::low_bit_convolution", lib=_LIBRARY)  # type: ignore[untyped-decorator]  # torch
def _convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: object, outputs: int, columns: int, *rest: int
) -> torch.Tensor:
    kernel, stride, (above, below, left, right), dilation = rest[3:5], rest[5:7], rest[7:11], rest[11:]
    torch._check(x.shape[1] * kernel[0] * kernel[1] == columns)
    padded = x.shape[2] + above + below, x.shape[3] + left + right
    places = [(padded[i] - (kernel[i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in range(2)]
    return x.new_empty((x.shape[0], *places, outputs))


@register_fake("burnish::low_bit_lstm", lib=_LIBRARY)  # type: ignore[untyped-decorator]  # torch
def _lstm(x: torch.Tensor, state: torch.Tensor, cell: torch.Tensor, *_: Any) -> tuple[torch.Tensor, ...]:
    return x.new_empty((*x.shape[:2], state.shape[1])), x.new_empty(state.shape), x.new_empty(cell.shape)


@register_fake("burnish::low_bit_gru", lib=_LIBRARY)  # type: ignore[untyped-decorator]  # torch
def _gru(x: torch.Tensor, state: torch.Tensor, *_: Any) -> tuple[torch.Tensor, ...]:
    return x.new_empty((*x.shape[:2], state.shape[1])), x.new_empty(state.shape)


linear: torch._ops.OpOverload = torch.ops.burnish.low_bit_linear.default
"""`x` (…, columns) float32 times a packed weight (outputs, columns), transposed, plus the bias: (…, outputs)."""
convolution: torch._ops.OpOverload = torch.ops.burnish.low_bit_convolution.default
"""`x` (batch, channels, height, width), each sample rounded, with a packed weight in `patch_order`, plus the bias:
(batch, height, width, outputs)."""
lstm: torch._ops.OpOverload = torch.ops.burnish.low_bit_lstm.default
"""One layer in one direction: `x` (length, batch, columns), state and cell (batch, hidden); gives the outputs, the last
state and the last cell."""
gru: torch._ops.OpOverload = torch.ops.burnish.low_bit_gru.default
"""As `lstm`, without a cell."""


@dataclass(frozen=True)
class Shim:
    """The C function that Inductor calls for an operator."""

    file: str
    """Its source, in `workers/backends/kernels/`."""
    declaration: str


def _shim(name: str, file: str) -> Shim:
    """The declaration follows from the schema, as Inductor writes its calls."""
    types = {"Tensor": "AtenTensorHandle", "Tensor?": "AtenTensorHandle*", "int": "int64_t"}
    arguments, results = _SCHEMAS[name][1:].split(") -> ")
    parameters = [f"{types[kind]} {argument}" for kind, argument in (each.split() for each in arguments.split(", "))]
    parameters += [f"AtenTensorHandle* result{number}" for number in range(results.count("Tensor"))]
    return Shim(file, f"AOTITorchError aoti_torch_cpu_{name}({', '.join(parameters)})")


SHIMS = {
    linear: _shim("low_bit_linear", "linear.cpp"),
    convolution: _shim("low_bit_convolution", "convolution.cpp"),
    lstm: _shim("low_bit_lstm", "recurrent.cpp"),
    gru: _shim("low_bit_gru", "recurrent.cpp"),
}
