"""Lists by cursor: newest first, `?limit=&cursor=`, answered as `{items, next}`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from pydantic import Field

from burnish.document import Document
from burnish.resources import Page

__all__ = ["PageQuery", "page"]


class PageQuery(Document):
    """Query of every list."""

    limit: int = Field(50, ge=1, le=200)
    """Items per page, at most."""
    cursor: str | None = Field(None, min_length=1, max_length=100)
    """The `next` of the page before."""


class _Record(Protocol):
    @property
    def id(self) -> str: ...


RecordT = TypeVar("RecordT", bound=_Record)
ItemT = TypeVar("ItemT")


def page(fetch: Callable[[int], Sequence[RecordT]], show: Callable[[RecordT], ItemT], limit: int) -> Page[ItemT]:
    """One page; one record more than asked tells whether there is another.

    Args:
        fetch: reads at most that many records behind the cursor.
        show: a record as its resource.
    """
    records = fetch(limit + 1)
    shown = tuple(show(record) for record in records[:limit])
    return Page(items=shown, next=records[limit - 1].id if len(records) > limit else None)
