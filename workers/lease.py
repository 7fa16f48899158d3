"""Keeps a lease alive while its step runs, carries progress and log lines to SQL, and brings the cancel flag back."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Literal

from burnish.errors import BurnishError
from storage import computations
from storage.database import Database
from workers import retrying
from workers.step_log import StepLog

__all__ = ["Lease"]

logger = logging.getLogger(__name__)
step_logger = logging.getLogger("workers.step")
"""What steps print."""

_LONGEST_GAP = 1.0
"""Seconds between two heartbeats at most: how long a cancel can go unnoticed."""
_LAST_BEATS = 50
"""Batches of log lines that are still sent once the step has ended."""
_LAST_TRIES = 5.0
"""Seconds for which a worker that drains tries to write an end while SQL is away."""

_WORTH_A_LINE = 5.0
"""Seconds without SQL that the log of a step's jobs tells."""

Stop = Literal["cancel", "lost", "drain", "time", "memory"]


class Lease:
    """A thread that renews the lease of one attempt. Use as a context manager.

    While SQL does not take a heartbeat, the work goes on, for up to `retrying.PATIENCE` seconds: nobody else can take
    the lease meanwhile unless it is this worker alone that is cut off, and then this attempt is fenced.
    """

    def __init__(self, database: Database, key: str, attempt: int, ttl: float) -> None:
        self._database = database
        self._key, self._attempt, self._ttl = key, attempt, ttl
        self._ended = threading.Event()
        self._stopped = threading.Event()
        self._silent_since: float | None = None
        self._draining_since = math.inf
        self._folder: Path | None = None
        self._log: StepLog | None = None
        self._beating = threading.Lock()
        self._share, self._doing = 0.0, "starting"
        # With a copy of the context, so that its log lines say what they are about.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name=f"lease-{key[:8]}", daemon=True
        )
        self.stop: Stop | None = None
        """Why the work has to end before it is done."""
        self.lost = False
        """Whether it is somebody else's, or may be."""
        self.rest: list[str] = []
        """Lines of the log that no heartbeat has told."""

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def follow(self, folder: Path) -> None:
        """From now on progress and log lines come from the files of this attempt."""
        self._folder = folder
        self._log = StepLog(folder / "told" / "log.txt")

    def finish_log(self) -> None:
        """Reads what the log of a step that has ended still holds; what it printed without measure is cut, and a line
        says so.

        The last batch, or that line, is left in `rest`, for the transaction that writes the end.
        """
        for _ in range(_LAST_BEATS):
            if self._keep_rest() or self.stop in ("cancel", "lost", "drain") or not self._beat(ended=True):
                return
        with self._beating:
            if self._log is None:
                return
            cut = f"burnish: the step printed {self._log.unread()} bytes more, too many to be kept"
            self.rest, self._log = [cut], None
        step_logger.warning("%s", cut)

    def _keep_rest(self) -> bool:
        """Whether it is less than a batch, and kept."""
        with self._beating:
            if self._log is None:
                return True
            lines = self._log.lines(ended=True)
            if self._log.more():
                return False
            self.rest, self._log = lines, None
        for line in lines:
            step_logger.info("%s", line)
        return True

    def say(self, doing: str) -> None:
        """What is being done outside the step's process, from now on."""
        self._folder, self._doing = None, doing

    def end(self, why: Stop) -> None:
        """Asks for the end of the work; the first reason counts."""
        self.lost |= why == "lost"
        if why == "drain":
            self._draining_since = min(self._draining_since, time.monotonic())
        if self.stop is None:
            self.stop = why
        self._stopped.set()

    def pause(self, seconds: float) -> bool:
        """Sleeps; true as soon as the work has to end."""
        return self._stopped.wait(seconds)

    def pause_to_write(self, seconds: float) -> bool:
        """Sleeps before the end of the work is written once more; true if there is no use in that any more."""
        time.sleep(seconds)
        return self.lost or time.monotonic() > self._draining_since + _LAST_TRIES

    def _run(self) -> None:
        gap = min(_LONGEST_GAP, self._ttl / 3)
        while not self._ended.wait(gap):
            if self.stop not in (None, "drain", "time", "memory"):
                return
            self._beat()

    def _beat(self, *, ended: bool = False) -> bool:
        """Renews and tells; whether SQL took it and the lease is ours."""
        with self._beating:  # the log is read by one at a time
            return self._tell(ended)

    def _tell(self, ended: bool) -> bool:
        share, doing = self._progress()
        try:
            lines = self._log.lines(ended=ended) if self._log else []
            told = [*self._silence(), *lines]
            with self._database.begin() as tx:
                answer = computations.heartbeat(
                    tx, self._key, self._attempt, ttl=self._ttl, progress=share, doing=doing, log=told
                )
        except (BurnishError, OSError) as error:
            self._not_heard(error)
            return False
        for line in lines:
            step_logger.info("%s", line)
        if self._log:
            self._log.taken()
        self._silent_since = None
        if answer != "go":
            self.end(answer)
        return answer == "go"

    def _silence(self) -> list[str]:
        """A line for the job's log, if SQL was away for long."""
        silent = 0.0 if self._silent_since is None else time.monotonic() - self._silent_since
        return [f"burnish: SQL took no sign of life for {silent:.0f} s"] if silent > _WORTH_A_LINE else []

    def _not_heard(self, error: Exception) -> None:
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
            logger.warning("Heartbeats fail from now on: %s", error)
        if now > self._silent_since + retrying.PATIENCE:
            logger.warning("Heartbeats have failed for %.0f s: %s", now - self._silent_since, error)
            self.end("lost")

    def _progress(self) -> tuple[float, str]:
        """The step wrote it, so it may be anything; what can't be read leaves it as it was."""
        if self._folder is not None:
            with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
                document = json.loads((self._folder / "told" / "progress.json").read_bytes())
                share, doing = float(document["share"]), str(document["doing"])
                self._share, self._doing = (share if 0.0 <= share <= 1.0 else self._share), doing
        return self._share, self._doing
