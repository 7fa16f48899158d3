"""Asks whether something outside works, in bounded time even if it never answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from threading import Lock, Thread

__all__ = ["Probes"]

_PATIENCE = 2.0
"""Longest wait for all answers together: probes of load balancers wait for little longer."""
_GIVEN_UP = 5.0
"""A question without an answer for so long is asked anew: what it asked may be back, and it still hangs."""


class Probes:
    """Questions by name. While one is open nobody asks it again: who comes then waits for the same answer."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._lock = Lock()
        self._open: dict[str, tuple[float, Future[str]]] = {}

    def ask(self, questions: Mapping[str, Callable[[], str]]) -> dict[str, str]:
        """All answers, in the order of the questions; who does not answer in time is said to be silent.

        A question gives its own answer for what it expects to fail; an exception is one of ours, and is raised here.
        """
        began = time.monotonic()
        asked = {name: self._asked(name, question) for name, question in questions.items()}
        return {name: self._answer(each, began + self._patience) for name, each in asked.items()}

    def _asked(self, name: str, question: Callable[[], str]) -> tuple[float, Future[str]]:
        with self._lock:
            known = self._open.get(name)
            if known is not None and not known[1].done() and time.monotonic() - known[0] < _GIVEN_UP:
                return known
            fresh: tuple[float, Future[str]] = (time.monotonic(), Future())
            self._open[name] = fresh
        # A thread of its own, and not a pool's: one that hangs must not keep the process from ending.
        Thread(target=_run, args=(question, fresh[1]), name=f"probe-{name}", daemon=True).start()
        return fresh

    def _answer(self, asked: tuple[float, Future[str]], until: float) -> str:
        try:
            return asked[1].result(max(0.0, until - time.monotonic()))
        except NoAnswer:
            return f"No answer for {time.monotonic() - asked[0]:.1f} s."


def _run(question: Callable[[], str], answer: Future[str]) -> None:
    try:
        answer.set_result(question())
    except BaseException as error:  # noqa: BLE001 - not lost: whoever waits for the answer gets it
        answer.set_exception(error)
