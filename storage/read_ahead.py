"""Pieces that are fetched a few at once and given out in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["read_ahead"]


PieceT = TypeVar("PieceT")


def read_ahead(calls: Iterable[Callable[[], PieceT]], lanes: int) -> Iterator[PieceT]:
    """What each call gives, in their order; `lanes` of them run while the caller works on the piece before.

    At most `lanes + 1` pieces are in memory. The first error of a call is raised in its turn, and ends it.
    """
    under_way: deque[Future[PieceT]] = deque()
    with ThreadPoolExecutor(lanes, thread_name_prefix="read-ahead") as pool:
        try:
            for call in calls:
                piece = under_way.popleft().result() if len(under_way) == lanes else None
                under_way.append(pool.submit(call))
                if piece is not None:
                    yield piece
                    del piece
            while under_way:
                yield under_way.popleft().result()
        finally:
            for each in under_way:
                each.cancel()
