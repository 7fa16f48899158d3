"""Faults that a loop goes on after, told once each."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from burnish.errors import BurnishError

__all__ = ["Faults"]

_AGAIN = 3600.0
"""Seconds after which a fault that is still there is told again."""


class Faults:
    """Logs each kind of fault with its traceback once an hour, however often it comes.

    A kind is what was being done, the class of the exception, and the line that raised it.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger, self._clock = logger, clock
        self._told: dict[tuple[str, type[Exception], str], float] = {}

    @contextmanager
    def survived(self, doing: str, *, but: type[BurnishError]) -> Iterator[None]:
        """What is behind the block goes on after any error in it but this kind, of which the caller knows better."""
        try:
            yield
        except but:
            raise
        except Exception as error:  # noqa: BLE001 - told with its traceback; the loop has other work
            self._tell(doing, error)

    def _tell(self, doing: str, error: Exception) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1:]
        kind = (doing, type(error), "".join(f"{frame.filename}:{frame.lineno}" for frame in place))
        now = self._clock()
        if now - self._told.get(kind, float("-inf")) < _AGAIN:
            return
        self._told[kind] = now
        self._logger.error(
            "%s: %s: %s. A fault of Burnish: report it as a bug with what follows. All else goes on; while it stays, "
            "this is told once an hour",
            doing, type(error).__name__, error, exc_info=error,
        )  # fmt: skip
