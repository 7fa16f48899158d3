"""What the tick does to the blob store every so often, in a thread of its own, so that a slow store delays no doorbell.

Of all ticks of a fleet one does each chore (`storage/chores.py`); if it dies over it, another does it the next time.
"""

from __future__ import annotations

import logging
import threading

from burnish.errors import BurnishError
from burnish.settings import Settings
from storage import checkpoints, chores, uploads
from storage.blobs import BlobStore, open_store
from storage.collector import Collector
from storage.database import Database
from workers.faults import Faults

__all__ = ["Housekeeper"]

logger = logging.getLogger(__name__)

_LOOK = 15.0
_COLLECT = 60.0
_SWEEP = 3600.0
_UNFINISHED = 86400.0
"""Seconds that an unfinished upload is kept for a writer to resume it."""


class Housekeeper:
    """Collects expired uploads and blobs every minute, and sweeps every hour what dead writers left behind."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.database_url)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it after the piece it is at; does not wait long for a store that hangs."""
        self._ended.set()
        self._thread.join(5.0)
        self._database.close()

    def once(self) -> None:
        """Does what is due.

        Raises:
            burnish.errors.BurnishError: SQL or the store is away, or the store's address is wrong.
        """
        if self._due("collect", _COLLECT):
            with self._database.begin() as tx:
                expired = uploads.expire(tx)
                checkpoints.lapse(tx)
            if expired:
                logger.info("Gave up %d uploads that had stood still", expired)
            done = Collector(
                self._database, self._store(), keep=self._settings.keep, size=self._settings.cache_size
            ).once()
            if done.evicted or done.removed:
                logger.info("Evicted %d results, removed %d blobs (%d bytes)", done.evicted, done.removed, done.freed)
            if done.over:
                logger.warning(
                    "The cache is %d bytes over BURNISH_CACHE_SIZE: live jobs and pinned models need them, or the "
                    "next run goes on",
                    done.over,
                )
        if self._due("sweep", _SWEEP):
            count = self._store().sweep(_UNFINISHED)
            if count:
                logger.info("Swept %d unfinished uploads", count)

    def _due(self, name: str, every: float) -> bool:
        with self._database.begin() as tx:
            return chores.take(tx, name, every)

    def _store(self) -> BlobStore:
        return open_store(self._settings.blobs_url)

    def _run(self) -> None:
        faults = Faults(logger)
        while not self._ended.wait(_LOOK):
            try:
                with faults.survived("Tidying the store", but=BurnishError):
                    self.once()
            except BurnishError as error:
                logger.warning("The store was not tidied: %s", error)
