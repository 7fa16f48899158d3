"""Names that users give to models and datasets."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

__all__ = ["Name"]

_FORBIDDEN = frozenset(":/\\")


def _check(name: str) -> str:
    if name != name.strip():
        raise ValueError("A name neither starts nor ends with a space")
    if not name.isprintable() or _FORBIDDEN & set(name):
        raise ValueError("A name has no control characters and none of : / \\")
    if name.startswith(("mdl_", "dst_")):
        raise ValueError("A name does not start like an id")
    return name


Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_check)]
"""Printable, without `:` (which sets off a version), `/` and `\\`, and not to be taken for an id."""
