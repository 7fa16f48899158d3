"""Keeps what a running step writes to its checkpoint in the blob store, for another attempt to go on from."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextvars import copy_context
from pathlib import Path

from burnish.errors import BurnishError, Unavailable
from storage import blob_index, checkpoints
from storage.blob_index import Hold
from storage.blobs import Blob, BlobStore
from storage.database import Database
from storage.records import Claim
from workers.lease import Lease
from workers.lost_input import InputLost, fetch_input

__all__ = ["CheckpointKeeper"]

logger = logging.getLogger(__name__)

_LOOK = 1.0
_WAIT = 0.1
_LAST = 5.0
"""Seconds that the last checkpoint of an attempt which is stopped is waited for: a store may hang."""


class CheckpointKeeper:
    """A thread that looks after one attempt's checkpoint. Use as a context manager around the attempt.

    A checkpoint only saves time: whatever goes wrong with one is told in the log, and the attempt goes on without.
    """

    def __init__(self, database: Database, blobs: BlobStore, claim: Claim, lease: Lease, folder: Path) -> None:
        self._database, self._blobs, self._claim, self._lease = database, blobs, claim, lease
        self._file = folder / "told" / "checkpoint"
        self._folder = folder
        self._seen: tuple[int, int] | None = None
        self.kept = False
        """Whether it has written one."""
        self._ended = threading.Event()
        # With a copy of the context, so that its log lines say what they are about.
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name="checkpoint", daemon=True)

    def __enter__(self) -> CheckpointKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        began = time.monotonic()
        while self._thread.is_alive() and not self._given_up(began):
            self._thread.join(_WAIT)

    def found(self) -> Path | None:
        """What an earlier attempt left, as a local file. Raises `Unavailable`."""
        if self._claim.attempt == 1:
            return None
        try:
            with self._database.read() as tx:
                digest = checkpoints.of(tx, self._claim.key)
            return None if digest is None else fetch_input(self._blobs, "checkpoint", digest, self._folder / "inputs")
        except Unavailable:
            raise
        except (BurnishError, InputLost) as error:
            logger.warning("The checkpoint can't be read, so the step begins anew: %s", error)
            return None

    def _given_up(self, since: float) -> bool:
        """Whether the thread is left to itself, which stores the last checkpoint since then."""
        if self._lease.stop in ("cancel", "lost"):  # nobody will go on from there
            return True
        return self._lease.stop is not None and time.monotonic() > since + _LAST

    def _run(self) -> None:
        while not self._ended.wait(_LOOK):
            self._look()
        self._look()  # what was written last before the attempt was ended

    def _look(self) -> None:
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return
        if (found.st_ino, found.st_mtime_ns) == self._seen:
            return
        still = self._folder / "checkpoint"
        try:
            still.unlink(missing_ok=True)
            os.link(self._file, still)  # the step replaces its file whole: this name keeps what is there now
            self._keep(still)
            self._seen = (found.st_ino, found.st_mtime_ns)
        except (BurnishError, OSError) as error:
            logger.warning("The checkpoint was not kept: %s", error)

    def _keep(self, path: Path) -> None:
        held: list[Hold] = []

        def hold(blob: Blob) -> None:
            with self._database.begin() as tx:
                held.append(checkpoints.hold(tx, blob))

        self._blobs.put_file(path, before=hold)
        self.kept = True
        with self._database.begin() as tx:
            if not checkpoints.keep(tx, self._claim.key, self._claim.attempt, held[-1]):
                blob_index.confirm(tx, held[-1])  # nobody will refer to it
