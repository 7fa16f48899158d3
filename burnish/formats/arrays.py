"""One array as its header declares it, and the element types that are accepted."""

from __future__ import annotations

import math
from dataclasses import dataclass

from burnish.errors import InvalidDataset

__all__ = ["ITEM_SIZES", "ArrayHeader", "checked_shape"]

ITEM_SIZES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
    "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Bytes of one element, by numpy's name."""
_MOST_DIMENSIONS = 16
_MOST_ELEMENTS = 2**48


@dataclass(frozen=True)
class ArrayHeader:
    """Type and shape of one array."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * ITEM_SIZES[self.dtype]


def checked_shape(shape: object, name: str) -> tuple[int, ...]:
    """The shape as a tuple of counts.

    Raises:
        InvalidDataset: it is none, or no computer could hold it.
    """
    if (
        not isinstance(shape, list | tuple)
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(side) is int and side >= 0 for side in shape)
        or math.prod(shape) > _MOST_ELEMENTS
    ):
        raise InvalidDataset(f"{shape!r:.80} is no usable shape.", cure="Write the file again.", where=name)
    return tuple(shape)
