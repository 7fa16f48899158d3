"""Starts the parts of a service in order, keeps them running, and stops them so that nothing is left."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import BurnishError, Unavailable
from burnish.local.child import Child, adopting_orphans, kill_orphans, reap_orphans
from burnish.local.lock import hold
from burnish.local.logs import tail, trim
from burnish.local.part import Part
from burnish.local.service import Service, embedded
from burnish.local.signals import Signals
from burnish.settings import Settings

__all__ = ["LOGS", "RUN_FILE", "Supervisor", "run"]

RUN_FILE = "run.json"
"""In the data folder while the service is ready: `{"url", "pid", "started"}`."""
LOGS = "logs"
"""Folder of the logs in the data folder."""

_START_SECONDS = 180.0
_CRASHES_AT_START = 3
"""A part that crashes so often before the service was ready has a fault that another try won't mend."""
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_STEADY_SECONDS = 60.0
"""A part that ran this long starts again at once, with its crashes forgotten."""
_POLL_SECONDS = 0.1
_TRIM_SECONDS = 60.0


def run(settings: Settings, say: Callable[[str], None] = print) -> None:
    """Runs the embedded service until SIGINT, SIGTERM or SIGHUP.

    Raises:
        Conflict: a service runs on the data folder already.
        Unavailable: a port is busy, a part is not installed, or the service did not come up (with the log's end).
    """
    with hold(settings.data):
        Supervisor(settings.data, embedded(settings), say).run()


class _Stopped(BaseException):
    """Stopping was asked for while the service came up."""


@dataclass
class _Slot:
    """A part's place, with its child if one runs."""

    part: Part
    child: Child | None = None
    crashes: int = 0
    started: float = 0.0
    again: float = 0.0
    """When to start it again, if no child runs (monotonic seconds)."""
    is_ready: bool = False


class Supervisor:
    """Keeps one service running on one data folder, which the caller holds.

    1. Parts start in order; one that runs once must succeed, and waits until those before it are ready.
    2. When all are ready the run file is written; it is gone before the first part is stopped.
    3. A part that ends is started again, after 0.5 s, 1 s, 2 s … at most 30 s; what it left running is killed first.
    4. On a signal, or when the service can't come up, parts stop in reverse order, each waited for; then whatever
       they left running is killed. If the supervisor itself is killed, the kernel kills the parts.
    """

    def __init__(self, data: Path, service: Service, say: Callable[[str], None] = print) -> None:
        self._data = data
        self._service = service
        self._say = say
        self._slots: list[_Slot] = []
        self._signals = Signals()

    def run(self) -> None:
        """Returns when it was stopped by a signal. Raises `Unavailable` if the service does not come up."""
        with suppress(_Stopped), self._signals, adopting_orphans(), ExitStack() as at_end:
            at_end.callback(self._stop)
            (self._data / RUN_FILE).unlink(missing_ok=True)  # of one that was killed
            (self._data / LOGS).mkdir(parents=True, exist_ok=True)
            self._start()
            self._announce()
            while not self._signals.count:
                self._restart_ended(at_start=False)
                reap_orphans(self._known())
                for slot in self._slots:
                    trim(self._log(slot.part))
                self._signals.wait(self._until_next())

    def _start(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        for part in self._service.parts:
            if part.once:
                self._await_ready(deadline)
                self._run_once(part, deadline)
            else:
                slot = _Slot(part)
                self._slots.append(slot)
                self._launch(slot)
        self._await_ready(deadline)

    def _await_ready(self, deadline: float) -> None:
        while True:
            self._restart_ended(at_start=True)
            waiting = [slot for slot in self._slots if not self._check(slot)]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise self._failure(waiting[0].part, f"was not ready within {_START_SECONDS:.0f} s")
            self._pause()

    def _check(self, slot: _Slot) -> bool:
        if not slot.is_ready and slot.child is not None:
            slot.is_ready = slot.part.ready is None or slot.part.ready()
        return slot.is_ready

    def _run_once(self, part: Part, deadline: float) -> None:
        child = self._child(part)
        try:
            while (status := child.ended()) is None:
                if time.monotonic() > deadline:
                    raise self._failure(part, f"did not end within {_START_SECONDS:.0f} s")
                self._pause()
        finally:
            child.stop(self._signals)
        if status != 0:
            raise self._failure(part, f"ended with {_outcome(status)}")

    def _restart_ended(self, *, at_start: bool) -> None:
        now = time.monotonic()
        for slot in self._slots:
            status = None if slot.child is None else slot.child.ended()
            if status is not None:
                self._note_end(slot, status, now, at_start)
            if slot.child is None and now >= slot.again:
                self._launch(slot)

    def _note_end(self, slot: _Slot, status: int, now: float, at_start: bool) -> None:
        slot.child = None
        if not slot.is_ready and slot.part.mend is not None:
            slot.part.mend()
        slot.is_ready = False
        slot.crashes = 1 if now - slot.started > _STEADY_SECONDS else slot.crashes + 1
        if at_start and slot.crashes >= _CRASHES_AT_START:
            raise self._failure(slot.part, f"ended {slot.crashes} times, last with {_outcome(status)}")
        kill_orphans(self._known())
        delay = min(_FIRST_DELAY * 2 ** (slot.crashes - 1), _LONGEST_DELAY)
        slot.again = now + delay
        log = self._log(slot.part)
        self._say(f"{slot.part.name} ended with {_outcome(status)}; starting it again in {delay:g} s. See {log}")

    def _launch(self, slot: _Slot) -> None:
        slot.child = self._child(slot.part)
        slot.started = time.monotonic()

    def _child(self, part: Part) -> Child:
        try:
            return Child(part, self._data, self._log(part))
        except OSError as error:
            raise Unavailable(
                f"{part.name} can't be started: {error}.", cure="Install the server: `pip install 'burnish[server]'`."
            ) from error

    def _announce(self) -> None:
        temporary = self._data / f"{RUN_FILE}.new"
        document = {"url": self._service.url, "pid": os.getpid(), "started": time.time()}
        temporary.write_text(json.dumps(document) + "\n", encoding="utf-8")
        temporary.replace(self._data / RUN_FILE)
        self._say(f"Burnish is ready at {self._service.url} (state and logs in {self._data}).")

    def _stop(self) -> None:
        (self._data / RUN_FILE).unlink(missing_ok=True)
        for slot in reversed(self._slots):
            if slot.child is not None:
                slot.child.stop(self._signals)
        self._slots.clear()
        kill_orphans(self._known())

    def _known(self) -> set[int]:
        return {slot.child.pid for slot in self._slots if slot.child is not None}

    def _pause(self) -> None:
        self._signals.wait(_POLL_SECONDS)
        if self._signals.count:
            raise _Stopped

    def _until_next(self) -> float:
        """Seconds until something is to be done without a signal."""
        now = time.monotonic()
        return min([_TRIM_SECONDS, *(slot.again - now for slot in self._slots if slot.child is None)])

    def _log(self, part: Part) -> Path:
        return self._data / LOGS / f"{part.name}.log"

    def _failure(self, part: Part, what: str) -> BurnishError:
        log = self._log(part)
        return Unavailable(
            f"The service did not come up: {part.name} {what}. The end of {log}:\n{tail(log)}\n",
            cure="Mend what the log names; `burnish doctor` checks this machine.",
        )


def _outcome(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"
