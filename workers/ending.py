"""The end of an attempt: its result or its error, and what that sets free, in one transaction."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from burnish.errors import DiskFull, InternalError, ResourceError, StepTimeout, Unavailable
from storage import blob_index, checkpoints, computations, recovery, removal
from storage.blob_index import Hold
from storage.blobs import BlobStore
from storage.database import Database, Transaction
from storage.records import Claim
from workers.advance import advance_all
from workers.attempt import Failed
from workers.keys import KeyMaker
from workers.lease import Lease
from workers.lost_input import Lost
from workers.retrying import retried

__all__ = ["Ending", "Stored"]

logger = logging.getLogger(__name__)

NextT = TypeVar("NextT")
_FINAL = frozenset({"user", StepTimeout.code})
"""Error classes and codes that another attempt would only repeat."""
_SPREAD = (0.5, 1.5)
"""Between these factors lies a pause before another attempt: steps that failed together do not come back together."""
_LONGEST_PAUSE = 1.0
"""Seconds between two tries to write an end: the slot is taken, and the work done."""


@dataclass(frozen=True)
class Stored:
    """What a step made, its outputs in the blob store already."""

    outputs: dict[str, Hold]
    report: dict[str, Any]
    peak_memory: int
    checkpointed: bool = True
    """Whether it may have left a checkpoint."""


class Ending:
    """Writes the ends of attempts of one worker."""

    def __init__(self, database: Database, blobs: BlobStore, keys: KeyMaker) -> None:
        self._database, self._blobs, self._keys = database, blobs, keys

    def write(
        self,
        claim: Claim,
        lease: Lease,
        made: Stored | Failed | Lost | None,
        seconds: float,
        then: Callable[[Transaction], NextT],
    ) -> NextT | None:
        """Writes the end of the attempt, trying until it is written or the lease is somebody else's.

        An end that SQL refuses becomes a failure of the attempt, which tells why.

        Args:
            then: what else belongs into that transaction; must not wait for locks.

        Returns:
            What `then` gave; `None` if the lease was lost.
        """

        def end(tx: Transaction) -> bool:
            if isinstance(made, Stored):
                return self._commit(tx, claim, made, seconds, lease.rest)
            if isinstance(made, Failed):
                return self._fail(tx, claim, made, seconds, lease.rest)
            if isinstance(made, Lost):
                return self._make_again(tx, claim, made, seconds)
            return computations.release(tx, claim.key, claim.attempt)

        try:
            written = self._write(lease, end, then)
        except InternalError as error:
            made = Failed(error.document(), 0)
            written = self._write(lease, end, then)
        if written is None:
            logger.warning("The lease was lost; the work is dropped")
        elif isinstance(made, Failed | Lost):
            logger.warning("Failed after %.1f s: %s", seconds, made.error["message"])
        else:
            logger.info("%s after %.1f s", "Stopped" if made is None else "Done", seconds)
        return written

    def _commit(self, tx: Transaction, claim: Claim, made: Stored, seconds: float, log: Sequence[str]) -> bool:
        ids = computations.commit(
            tx,
            claim.key,
            claim.attempt,
            outputs={role: held.blob.digest for role, held in made.outputs.items()},
            report=made.report,
            seconds=seconds,
            peak_memory=made.peak_memory,
            log=log,
        )
        if ids is None:
            return False
        if claim.attempt > 1 or made.checkpointed:  # nobody writes one but an attempt
            checkpoints.drop(tx, claim.key)
        advance_all(tx, ids, self._keys)
        # Rows of blobs are locked last, by every one.
        if not blob_index.confirm(tx, *made.outputs.values()):
            raise _removed()
        return True

    def _make_again(self, tx: Transaction, claim: Claim, made: Lost, seconds: float) -> bool:
        """Has the lost input computed again, or fails where nobody can."""
        ids = recovery.recompute(tx, claim.key, claim.attempt, made.digest, made.error)
        if ids is None:
            return self._fail(tx, claim, Failed(made.error, 0), seconds)
        advance_all(tx, ids, self._keys)
        if made.damaged:
            removal.discard(tx, self._blobs, made.digest)
        return True

    def _fail(self, tx: Transaction, claim: Claim, made: Failed, seconds: float, log: Sequence[str] = ()) -> bool:
        final = not _FINAL.isdisjoint((made.error["class"], made.error["code"]))
        ids = computations.fail(
            tx,
            claim.key,
            claim.attempt,
            error=made.error,
            retry_in=None if final else 4.0**claim.failures * random.uniform(*_SPREAD),
            seconds=seconds,
            peak_memory=made.peak_memory,
            log=log,
        )
        advance_all(tx, ids or (), self._keys)
        return ids is not None

    def _write(
        self, lease: Lease, work: Callable[[Transaction], bool], then: Callable[[Transaction], NextT]
    ) -> NextT | None:
        def once() -> NextT | None:
            with self._database.begin() as tx:
                return then(tx) if work(tx) else None

        if lease.lost:
            return None
        try:
            return retried(once, lease.pause_to_write, when=(Unavailable, DiskFull), longest=_LONGEST_PAUSE)
        except ResourceError as error:
            logger.warning("The end of the attempt could not be written: %s", error)
            return None


def _removed() -> InternalError:
    """An output was put so long ago that the collector has removed it: takes the commit back."""
    return InternalError(
        "An output was removed from the store before the step's end was written.", cure="It is computed again."
    )
