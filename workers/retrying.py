"""Trying again while something is away: exponential backoff with full jitter, for so long and no longer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from redis.backoff import FullJitterBackoff

from burnish.errors import BurnishError, Unavailable

__all__ = ["PATIENCE", "backoff", "retried"]

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

PATIENCE = 900.0
"""Seconds for which a worker waits for SQL or the blob store to come back, before that costs a step an attempt."""
_FIRST = 0.5
_LONGEST = 10.0
_DOUBLINGS = 16


def backoff(failures: int, longest: float = _LONGEST) -> float:
    """Seconds until the next try: a random part of half a second, or of that doubled with each failure before."""
    return FullJitterBackoff(cap=longest, base=_FIRST).compute(min(failures, _DOUBLINGS))


def retried(
    work: Callable[[], ResultT],
    pause: Callable[[float], bool],
    *,
    when: tuple[type[BurnishError], ...] = (Unavailable,),
    longest: float = _LONGEST,
    waiting: Callable[[BurnishError], object] | None = None,
) -> ResultT:
    """What `work` gives, called again and again while something that it needs is away.

    Args:
        pause: sleeps that many seconds; true to give up.
        when: errors that mean "away".
        longest: seconds of one pause, at most.
        waiting: called with the first error.

    Raises:
        BurnishError: the last of them, if `PATIENCE` is over or `pause` gave up; every other at once.
    """
    began, failures = time.monotonic(), 0
    while True:
        try:
            made = work()
        except when as error:
            if time.monotonic() - began > PATIENCE:
                raise
            if not failures:
                logger.warning("Waits until this is over: %s", error)
                if waiting is not None:
                    waiting(error)
            if pause(backoff(failures, longest)):
                raise
            failures += 1
        else:
            if failures:
                logger.info("Goes on after %.0f s", time.monotonic() - began)
            return made
