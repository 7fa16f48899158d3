"""The page `docs/breadth.md`, made from the records alone."""

from __future__ import annotations

from benchmarks.matrix.records import Records

__all__ = ["document"]


def document(records: Records) -> str:
    """The whole page."""
    return ""
