"""Settings of graph clean-up."""

from __future__ import annotations

from typing import ClassVar

from burnish.passes.base import PassSettings

__all__ = ["Simplify"]


class Simplify(PassSettings):
    """Takes out of the graph what computes nothing new. The outputs stay what they were, but for rounding."""

    name: ClassVar[str] = "simplify"
    summary: ClassVar[str] = "Graph clean-up: batch norms folded, constants computed, repeated and idle calls removed."
    understands: ClassVar[str] = (
        "Every operator without side effects; batch norms after convolutions, transposed and grouped ones too."
    )
    never_after: ClassVar[frozenset[str]] = frozenset({"quantize", "cache"})

    fold_batch_norms: bool = True
    """Multiplies the scale of a batch norm into the convolution before it. Leave it off before a `prune` that ranks
    channels by those scales (`importance: bn_scale`)."""
    fold_constants: bool = True
    """Computes what depends on weights alone, where that takes no more bytes than the weights did."""
    merge_repeated: bool = True
    """Calls of the same operator on the same arguments become one (common subexpressions)."""
