"""Runs one computation from its doorbell to its commit.

Rules:

1. Claim first; no lease, no work. A worker that would compute another key (other code, versions, processor) leaves it.
2. While it runs, the lease is renewed. If it is lost, or a cancel comes, every process of the step is killed, and a
   transfer from or to the store is left to itself.
3. Outputs go to the blob store before SQL names them. The result, and what it makes ready in every job that waits for
   it, is one transaction, fenced by the attempt's number.
4. A `user` error is final. Others are tried again with a growing pause, three attempts in all; each reason is kept.
5. What is away (SQL, the store) is waited for, up to `retrying.PATIENCE`, and costs no attempt (`workers/transfer.py`).
6. An input that the store lost or spoiled is computed again by the step that made it (`storage/recovery.py`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from burnish.errors import BurnishError, InternalError, NotFound, ResourceError
from burnish.logs import about
from burnish.settings import Settings
from burnish.trace import Trace
from storage import blob_index, computations, jobs, ready, steps, succession
from storage.blob_index import Hold
from storage.blobs import Blob, BlobStore
from storage.database import Database, Transaction
from storage.doorbell import Doorbell
from storage.records import Claim, Computation
from storage.succession import Taken, Taker
from workers.advance import advance_all, take_up
from workers.attempt import Bounds, Failed, run_attempt
from workers.checkpoints import CheckpointKeeper
from workers.dispatch import AT_ONCE, REDISPATCH, Following, following, ring
from workers.ending import Ending, Stored
from workers.host_lock import HostLock
from workers.keys import KeyMaker
from workers.lease import Lease
from workers.lost_input import InputLost, Lost, fetch_input
from workers.retrying import retried
from workers.scratch import Scratch
from workers.tracing import about_claim, about_job, trace_of
from workers.transfer import Stopped, transfer
from workers.zygote_client import Zygote

__all__ = ["Runner"]

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

_MISSES = 3
"""Steps in a row that were not to be had, after which a slot waits for the next doorbell."""
_GIVEN_UP = 2 * REDISPATCH
"""Seconds that a computation is left to the workers it was planned for."""


class Runner:
    """What the tasks of one worker call. Safe to use from many threads."""

    def __init__(
        self,
        *,
        settings: Settings,
        worker_id: str,
        database: Database,
        blobs: BlobStore,
        doorbell: Doorbell,
        zygote: Zygote,
        keys: KeyMaker,
        scratch: Scratch,
        host: HostLock,
    ) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._database, self._blobs, self._doorbell = database, blobs, doorbell
        self._zygote, self._keys, self._scratch, self._host = zygote, keys, scratch, host
        self._ending = Ending(database, blobs, keys)
        self._taker = Taker(worker_id, tuple(settings.queues), settings.lease_seconds, self._fits)
        self._leases: set[Lease] = set()
        self._lock = threading.Lock()
        self._draining = threading.Event()
        self._out_of_time = False

    def plan(self, job_id: str) -> None:
        """Takes up a job: plans it if it is new, and goes as far as the cache reaches.

        Raises:
            Unavailable: SQL was away for too long, or is away while the worker drains; the tick rings again.
        """
        try:
            due = self._waited_for(partial(self._take_up, job_id))
        except NotFound:
            logger.info("Doorbell for job %s, which does not exist", job_id)
            return
        ring(self._doorbell, due)

    def _take_up(self, job_id: str) -> list[ready.Due]:
        with self._database.begin() as tx, about(**about_job(jobs.get(tx, job_id))):
            take_up(tx, job_id, self._keys)
            return ready.due(tx, AT_ONCE)

    def execute(self, key: str) -> None:
        """Claims a computation and runs it to its end, and then the next that is ready, until there is none.

        One that is not to be had was most likely taken by another slot that had just come free, without waiting for
        its own doorbell; what that doorbell was rung for may still be ready, so it is looked for.

        Raises:
            Unavailable: as `plan`.
        """
        taken, misses = self._waited_for(partial(self._claim, key)), 0
        while misses < _MISSES:
            misses = 0 if taken else misses + 1
            next_ = (self._run(taken) if taken else None) or self._waited_for(self._look)
            if next_.found.left and not self._draining.is_set():
                taken = self._waited_for(partial(self._claim, next_.found.left))
            elif (taken := next_.found.taken) is None:
                return

    def _waited_for(self, work: Callable[[], ResultT]) -> ResultT:
        """What a transaction gives once SQL is there: the doorbell for it is not rung again for a minute."""
        return retried(work, self._draining.wait)

    def _look(self) -> Following:
        with self._database.begin() as tx:
            found = self._follow(tx)
        ring(self._doorbell, found.due)
        return found

    def _follow(self, tx: Transaction) -> Following:
        return following(tx, None if self._draining.is_set() else self._taker)

    def _run(self, taken: Taken) -> Following | None:
        """Runs it to its end; what the slot finds then, unless the lease was lost."""
        with about(**about_claim(taken.claim, taken.waiting)):
            found = self._run_claimed(taken.claim, trace_of(taken.waiting))
        if found is not None:
            ring(self._doorbell, found.due)
        return found

    def _run_claimed(self, claim: Claim, trace: Trace | None) -> Following | None:
        began = time.monotonic()
        logger.info("Attempt begins")
        with Lease(self._database, claim.key, claim.attempt, self._settings.lease_seconds) as lease:
            self._register(lease)
            try:
                lease.say("waiting for the host")
                with self._host.hold(claim.alone, lease.pause) as inside:
                    made = self._attempt(claim, lease, trace) if inside else None
                return self._ending.write(claim, lease, made, time.monotonic() - began, self._follow)
            finally:
                with self._lock:
                    self._leases.discard(lease)

    def drain(self, grace: float) -> None:
        """Takes nothing new; what still runs after `grace` seconds is stopped and given back."""
        self._draining.set()
        until = time.monotonic() + grace
        while self._leases and time.monotonic() < until:
            time.sleep(0.1)
        with self._lock:
            self._out_of_time = True
            for lease in self._leases:
                lease.end("drain")

    def _register(self, lease: Lease) -> None:
        with self._lock:
            self._leases.add(lease)
            if self._out_of_time:  # claimed just before the worker was told to stop
                lease.end("drain")

    def _claim(self, key: str) -> Taken | None:
        if self._draining.is_set():
            return None
        with self._database.begin() as tx:
            if (taken := succession.take(tx, key, self._taker).taken) is not None:
                return taken
            # It is not ready, its lease may have lapsed, somebody holds its rows, or it is none of ours.
            found = computations.get(tx, key)
            if found is None or found.state not in ("ready", "leased") or found.queue not in self._settings.queues:
                return None
            if not self._fits(found):
                self._leave(tx, found)
                return None
            claim = computations.claim(
                tx,
                key,
                worker=self._worker_id,
                ttl=self._settings.lease_seconds,
            )
            return None if claim is None else Taken(claim, steps.bound_to(tx, key))

    def _fits(self, found: Claim | Computation) -> bool:
        """Never raises: it is asked in the transaction that writes the end of the step before."""
        try:
            return self._keys.key(found.op, found.spec, found.inputs).digest == found.key
        except InternalError:  # this version has no such step
            return False

    def _leave(self, tx: Transaction, found: Computation) -> None:
        """It was planned by another version or for another machine. If none of those took it for long, there are none
        any more (a rolling upgrade): its steps are bound anew, as this worker would compute them.

        Until then its doorbell, which this worker has used up, is rung again each time that it has waited twice as
        long: soon, if one of those is idle; a few times in all, if they are busy.
        """
        logger.info("%s %s was planned for another environment than this worker's", found.op, found.key[:12])
        if found.state != "ready":
            return
        waited = tx.now - found.run_after
        if waited > _GIVEN_UP:
            advance_all(tx, steps.unbind(tx, found.key), self._keys)
        elif waited < REDISPATCH:
            ready.back_date(tx, found.key, tx.now - REDISPATCH + waited)

    def _attempt(self, claim: Claim, lease: Lease, trace: Trace | None) -> Stored | Failed | Lost | None:
        """Everything between the claim and the commit. What the store and the disk refuse counts as the attempt's; what
        is only away is waited for."""
        try:
            with self._scratch.attempt(f"{claim.key[:16]}-{claim.attempt}") as folder:
                inputs = {
                    role: transfer(
                        lease, "fetching inputs", partial(fetch_input, self._blobs, role, digest, folder / "inputs")
                    )
                    for role, digest in claim.inputs.items()
                }
                with CheckpointKeeper(self._database, self._blobs, claim, lease, folder) as keeper:
                    left = transfer(lease, "fetching the checkpoint", keeper.found)
                    made = run_attempt(self._zygote, lease, claim, folder, inputs, self._bounds(claim), trace, left)
                if made is None or isinstance(made, Failed):
                    return made
                outputs = {
                    role: transfer(lease, "storing outputs", partial(self._put, path))
                    for role, path in made.outputs.items()
                }
            return Stored(outputs, made.report, made.peak_memory, keeper.kept)
        except Stopped:
            return None
        except InputLost as error:
            return error.lost
        except BurnishError as error:
            return Failed(error.document(), 0)
        except OSError as error:
            return Failed(_local(error).document(), 0)

    def _put(self, path: Path) -> Hold:
        """Stores an output, held until the attempt's end is written."""
        held: list[Hold] = []

        def hold(blob: Blob) -> None:
            with self._database.begin() as tx:
                held.append(blob_index.hold(tx, blob))

        self._blobs.put_file(path, before=hold)
        return held[-1]

    def _bounds(self, claim: Claim) -> Bounds:
        cores = self._keys.environment.threads
        return Bounds(
            seconds=self._settings.step_seconds,
            memory=self._settings.step_memory,
            threads=cores if claim.alone else max(1, cores // (self._settings.slots or cores)),
        )


def _local(error: OSError) -> BurnishError:
    return ResourceError(
        f"The worker could not handle the step's files: {error}",
        cure="Check space and permissions of its data folder (BURNISH_DATA).",
    )
