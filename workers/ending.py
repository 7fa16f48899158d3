"""The end of an attempt: its result or its error, and what that sets free, in one transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from burnish.errors import StepTimeout, Unavailable
from storage import blob_index, computations
from storage.blobs import Blob
from storage.database import Database, Transaction
from storage.records import Claim
from workers.advance import advance_all
from workers.attempt import Failed
from workers.keys import KeyMaker
from workers.lease import Lease

__all__ = ["Ending", "Stored"]

logger = logging.getLogger(__name__)

_FINAL = frozenset({"user", StepTimeout.code})
"""Error classes and codes that another attempt would only repeat."""


@dataclass(frozen=True)
class Stored:
    """What a step made, its outputs in the blob store already."""

    outputs: dict[str, Blob]
    report: dict[str, Any]
    peak_memory: int


class Ending:
    """Writes the ends of attempts of one worker."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self._database, self._keys = database, keys

    def write(self, claim: Claim, lease: Lease, made: Stored | Failed | None, seconds: float) -> None:
        """Writes the end of the attempt, trying until it is written or the lease is somebody else's."""

        def end(tx: Transaction) -> bool:
            if isinstance(made, Stored):
                return self._commit(tx, claim, made, seconds)
            if isinstance(made, Failed):
                return self._fail(tx, claim, made, seconds)
            give_up = computations.cancelled if lease.stop == "cancel" else computations.release
            return give_up(tx, claim.key, claim.attempt)

        if not self._write(lease, end):
            logger.warning("The lease was lost; the work is dropped")
        elif isinstance(made, Failed):
            logger.warning("Failed after %.1f s: %s", seconds, made.error["message"])
        else:
            logger.info("%s after %.1f s", "Stopped" if made is None else "Done", seconds)

    def _commit(self, tx: Transaction, claim: Claim, made: Stored, seconds: float) -> bool:
        ids = computations.commit(
            tx,
            claim.key,
            claim.attempt,
            outputs={role: blob.digest for role, blob in made.outputs.items()},
            report=made.report,
            seconds=seconds,
            peak_memory=made.peak_memory,
        )
        if ids is None:
            return False
        for digest, size in sorted({(blob.digest, blob.size) for blob in made.outputs.values()}):
            blob_index.seen(tx, digest, size)
        advance_all(tx, ids, self._keys)
        return True

    def _fail(self, tx: Transaction, claim: Claim, made: Failed, seconds: float) -> bool:
        final = not _FINAL.isdisjoint((made.error["class"], made.error["code"]))
        ids = computations.fail(
            tx,
            claim.key,
            claim.attempt,
            error=made.error,
            retry_in=None if final else 4.0**claim.failures,
            seconds=seconds,
            peak_memory=made.peak_memory,
        )
        advance_all(tx, ids or (), self._keys)
        return ids is not None

    def _write(self, lease: Lease, work: Callable[[Transaction], bool]) -> bool:
        while lease.stop != "lost":
            try:
                with self._database.begin() as tx:
                    return work(tx)
            except Unavailable as error:
                logger.warning("The end of an attempt can't be written yet: %s", error)
                time.sleep(0.5)
        return False
