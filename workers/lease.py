"""Keeps a lease alive while its step runs, carries progress and log lines to SQL, and brings the cancel flag back."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Literal

from burnish.errors import Unavailable
from storage import computations
from storage.database import Database

__all__ = ["Lease", "tail"]

logger = logging.getLogger(__name__)

_LONGEST_GAP = 1.0
"""Seconds between two heartbeats at most: how long a cancel can go unnoticed."""
_LINES_PER_BEAT = 50
_LINE = 500
_TAIL = 4096

Stop = Literal["cancel", "lost", "drain", "time", "memory"]


class Lease:
    """A thread that renews the lease of one attempt. Use as a context manager."""

    def __init__(self, database: Database, key: str, attempt: int, ttl: float) -> None:
        self._database = database
        self._key, self._attempt, self._ttl = key, attempt, ttl
        self._ended = threading.Event()
        self._stopped = threading.Event()
        self._until = time.monotonic() + ttl
        self._folder: Path | None = None
        self._read = 0
        self._doing = "starting"
        self._thread = threading.Thread(target=self._run, name=f"lease-{key[:8]}", daemon=True)
        self.stop: Stop | None = None
        """Why the work has to end before it is done."""

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def follow(self, folder: Path) -> None:
        """From now on progress and log lines come from the files of this attempt."""
        self._folder = folder

    def say(self, doing: str) -> None:
        """What is being done outside the step's process."""
        self._doing = doing

    def end(self, why: Stop) -> None:
        """Asks for the end of the work; the first reason counts."""
        if self.stop is None:
            self.stop = why
        self._stopped.set()

    def pause(self, seconds: float) -> bool:
        """Sleeps; true as soon as the work has to end."""
        return self._stopped.wait(seconds)

    def _run(self) -> None:
        gap = min(_LONGEST_GAP, self._ttl / 3)
        while not self._ended.wait(gap):
            if self.stop not in (None, "drain", "time", "memory"):
                return
            self._beat()

    def _beat(self) -> None:
        share, doing = self._progress()
        lines, read = self._lines()
        try:
            with self._database.begin() as tx:
                answer = computations.heartbeat(
                    tx, self._key, self._attempt, ttl=self._ttl, progress=share, doing=doing, log=lines
                )
        except Unavailable as error:
            logger.warning("Heartbeat of %s failed: %s", self._key[:12], error)
            if time.monotonic() > self._until:
                self.end("lost")  # somebody else may have it by now; better two losses than two runs
            return
        self._read = read
        self._until = time.monotonic() + self._ttl
        if answer != "go":
            self.end(answer)

    def _progress(self) -> tuple[float, str]:
        if self._folder is not None and (path := self._folder / "told" / "progress.json").exists():
            document = json.loads(path.read_text())
            return float(document["share"]), str(document["doing"])
        return 0.0, self._doing

    def _lines(self) -> tuple[list[str], int]:
        """New whole lines of the log, a bounded number of them, and how far the log is read then."""
        if self._folder is None or not (path := self._folder / "told" / "log.txt").exists():
            return [], self._read
        with path.open("rb") as log:
            log.seek(self._read)
            data = log.read(_LINES_PER_BEAT * _LINE)
        whole = data.rfind(b"\n") + 1
        if whole == 0 and len(data) == _LINES_PER_BEAT * _LINE:
            whole = len(data)  # a line without an end
        lines = data[:whole].decode(errors="replace").splitlines()[:_LINES_PER_BEAT]
        return [line[:_LINE] for line in lines if line.strip()], self._read + whole


def tail(log: Path) -> str:
    """The last 4 KiB of a log file; empty if there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        return file.read().decode(errors="replace").replace("\0", "�")
