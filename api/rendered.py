"""Answers that many open pages ask for at once, made once: the list of jobs after a change, above all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

__all__ = ["Rendered"]


class Rendered:
    """A few bodies by what they are of. Whoever asks for one while it is being made waits for it.

    The key holds all that the body depends on, so nothing is ever out of date. The oldest makes room for a new one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._bodies: OrderedDict[tuple[str, ...], _Body] = OrderedDict()

    def get(self, key: tuple[str, ...], make: Callable[[], bytes]) -> bytes:
        """The body of that key, made now if there is none. What `make` raises is raised, and kept for nobody."""
        with self._lock:
            body = self._bodies.setdefault(key, _Body())
            self._bodies.move_to_end(key)
            while len(self._bodies) > self._most:
                self._bodies.popitem(last=False)
        with body.lock:
            if body.made is None:
                body.made = make()
            return body.made


class _Body:
    def __init__(self) -> None:
        self.lock = Lock()
        self.made: bytes | None = None
