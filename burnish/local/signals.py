"""Waiting that a signal or the end of a child cuts short."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType

__all__ = ["Signals"]

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While entered, SIGINT, SIGTERM and SIGHUP are counted in place of ending the process. Main thread only."""

    def __init__(self) -> None:
        self.count = 0
        """How often stopping was asked for. More than once: hurry."""

    def __enter__(self) -> Signals:
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._writing = writing
        self._handlers = {number: signal.signal(number, self._count) for number in _STOP}
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._note)
        self._wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        return self

    def wait(self, seconds: float) -> None:
        """Returns after `seconds`, or as soon as a signal has arrived since the last call."""
        if select.select([self._reading], [], [], max(0.0, seconds))[0]:
            os.read(self._reading, 4096)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._reading)
        os.close(self._writing)

    def _count(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

    def _note(self, number: int, frame: FrameType | None) -> None:
        """A handler must be there, or the kernel would not wake `wait` at a child's end."""
