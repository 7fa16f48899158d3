"""The tick: `python -m workers.tick`. Reaps lapsed leases, fires schedules, rings for whatever is due and nobody took,
and sends what webhooks are to be told.

Two of them may run at once: each thing they do is a conditional change in SQL. The broker may lose all it holds: the
tick leaves a mark there, and if the mark is gone, everything that is due is rung for again, the most urgent first.

A round is made of parts, and a fault in one (a row that this version can't read, say) ends neither the others nor the
tick.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import redis

from burnish.errors import Unavailable
from burnish.logs import about
from burnish.settings import Settings
from burnish.starting import run_part
from storage import computations, jobs, outages
from storage.database import Database
from storage.doorbell import Doorbell
from storage.places import prepare, warn_of_absent
from workers.dispatch import ring_jobs, ring_steps
from workers.faults import Faults
from workers.housekeeping import Housekeeper
from workers.retrying import backoff
from workers.schedules import Scheduler
from workers.tracing import about_job
from workers.webhooks import Sender

__all__ = ["Tick", "main"]

logger = logging.getLogger(__name__)

_EVERY = 0.75
_LONGEST_PAUSE = 15.0
_MARK = "burnish:mark"


class Tick:
    """One round is `once`."""

    def __init__(self, database: Database, doorbell: Doorbell, broker_url: str) -> None:
        self._database, self._doorbell = database, doorbell
        self._broker = redis.Redis.from_url(broker_url, socket_timeout=2, socket_connect_timeout=2)
        self._lost_at = -math.inf
        """When the broker was last found to have lost doorbells, by SQL's clock."""
        self._lost = False
        """It has lost some, and `_lost_at` does not say so yet."""
        self._scheduler = Scheduler(database)
        self._faults = Faults(logger)

    def once(self) -> None:
        """Reaps, fires schedules, then rings.

        Raises:
            Unavailable: SQL or the broker is away; the next round does what this one could not.
        """
        waiting: list[str] = []
        with self._part("Lapsed leases"):
            waiting = self._reap()
        with self._part("Schedules"):
            self._scheduler.once()
        with self._part("Lost doorbells"):
            self._note_loss()
        with self._part("Doorbells of jobs"):
            self._ring(ring_jobs)
        with self._part("Doorbells of steps"):
            self._ring(ring_steps)
        with self._part("Jobs to be advanced"):
            self._advance(waiting)

    def _part(self, name: str) -> AbstractContextManager[None]:
        return self._faults.survived(name, but=Unavailable)

    def _reap(self) -> list[str]:
        with self._database.begin() as tx:
            outages.spare(tx)
            return computations.reap(tx)

    def _note_loss(self) -> None:
        if self._broker_was_wiped() or self._lost:
            self._lost = True  # until it is written down
            with self._database.read() as tx:
                self._lost_at = tx.now
            self._lost = False

    def _ring(self, ring: Callable[[Database, Doorbell, float], bool]) -> None:
        if not ring(self._database, self._doorbell, self._lost_at):
            self._lost = True
            raise Unavailable("The broker did not take all doorbells.", cure="They are rung again.")

    def _advance(self, job_ids: list[str]) -> None:
        """A worker advances them, since only a worker knows the keys. If the ring gets lost, they are `stuck`."""
        for job_id in job_ids:
            with self._database.read() as tx:
                job = jobs.get(tx, job_id)
            with about(**about_job(job)):
                logger.info("A step lost its worker for the last time; the job goes on, or ends")
            self._doorbell.plan(job.id, job.device, job.priority)

    def _broker_was_wiped(self) -> bool:
        """True if the mark was not there any more; it is now."""
        try:
            return self._broker.set(_MARK, "1", nx=True) is not None
        except redis.RedisError as error:
            self._lost = True
            raise Unavailable(f"The broker did not answer: {error}", cure="Check BURNISH_BROKER_URL.") from error


def main() -> int:
    """Ticks until SIGTERM or SIGINT. Exit status as `run_part` has it."""
    return run_part("tick", _serve)


def _serve(settings: Settings) -> None:
    prepare(settings)
    warn_of_absent(settings)
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    serve(settings, ended)


def serve(settings: Settings, ended: threading.Event) -> None:
    """Ticks, has the blob store tidied and webhooks told, until `ended` is set.

    Pauses longer and longer, and not as long as other ticks do, while SQL or the broker is away. Goes on after any
    fault.
    """
    database, doorbell = Database(settings.database_url), Doorbell(settings.broker_url)
    tick = Tick(database, doorbell, settings.broker_url)
    housekeeper = Housekeeper(settings)
    housekeeper.start()
    sender = Sender(settings)
    sender.start()
    failures = 0
    while not ended.wait(max(_EVERY, backoff(failures, _LONGEST_PAUSE)) if failures else _EVERY):
        try:
            tick.once()
            failures = 0
        except Unavailable as error:
            logger.warning("%s", error)
            failures += 1
    sender.stop()
    housekeeper.stop()
    doorbell.close()
    database.close()


if __name__ == "__main__":
    sys.exit(main())
