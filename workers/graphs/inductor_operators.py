"""The operators that stand for our kernels in a program that Inductor compiles.

They have a shape and no implementation: Inductor writes a call of the C function instead, which is linked into the
package. Nothing of this has to be there where the package runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.library import Library, register_fake

__all__ = ["SHIMS", "Shim", "linear"]

_LIBRARY = Library("burnish", "FRAGMENT")
_LIBRARY.define(
    "low_bit_linear(Tensor x, Tensor weight, Tensor? bias, int outputs, int columns, int bits, int group, "
    "int has_zeros, int rounded) -> Tensor"
)


@register_fake("burnish::low_bit_linear", lib=_LIBRARY)  # type: ignore[untyped-decorator]  # torch
def _linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    outputs: int,
    columns: int,
    bits: int,
    group: int,
    has_zeros: int,
    rounded: int,
) -> torch.Tensor:
    torch._check(x.shape[-1] == columns)
    return x.new_empty((*x.shape[:-1], outputs))


linear: torch._ops.OpOverload = torch.ops.burnish.low_bit_linear.default
"""`x` (…, columns) float32 times a packed weight (outputs, columns), transposed, plus the bias: (…, outputs)."""


@dataclass(frozen=True)
class Shim:
    """The C function that Inductor calls for an operator."""

    file: str
    """Its source, in `workers/backends/kernels/`."""
    declaration: str


SHIMS = {
    linear: Shim(
        "linear.cpp",
        "AOTITorchError aoti_torch_cpu_low_bit_linear(AtenTensorHandle x, AtenTensorHandle weight, "
        "AtenTensorHandle* bias, int64_t outputs, int64_t columns, int64_t bits, int64_t group, int64_t has_zeros, "
        "int64_t rounded, AtenTensorHandle* result)",
    ),
}
