"""The tick: `python -m workers.tick`. Reaps lapsed leases, fires schedules, rings for whatever is due and nobody took,
and sends what webhooks are to be told.

Two of them may run at once: each thing they do is a conditional change in SQL. The broker may lose all it holds: the
tick leaves a mark there, and if the mark is gone, everything that is due is rung for at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

import redis

from burnish.errors import BurnishError, Unavailable
from burnish.logs import about, start_log
from burnish.settings import Settings
from storage import computations, jobs
from storage.database import Database
from storage.doorbell import Doorbell
from workers.dispatch import REDISPATCH, ring_jobs, ring_steps
from workers.housekeeping import Housekeeper
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
        self._undelivered = False
        self._scheduler = Scheduler(database)

    def once(self) -> None:
        """Reaps, fires schedules, then rings.

        Raises:
            Unavailable: SQL or the broker is away; the next round does what this one could not.
        """
        with self._database.begin() as tx:
            waiting = computations.reap(tx)
        self._scheduler.once()
        redispatch = 0.0 if self._broker_was_wiped() or self._undelivered else REDISPATCH
        self._undelivered = not ring_jobs(self._database, self._doorbell, redispatch)
        self._undelivered |= not ring_steps(self._database, self._doorbell, redispatch)
        if self._undelivered:
            raise Unavailable("The broker did not take all doorbells.", cure="They are rung again.")
        self._advance(waiting)

    def _advance(self, job_ids: list[str]) -> None:
        """A worker advances them, since only a worker knows the keys. If the ring gets lost, they are `stuck`."""
        for job_id in job_ids:
            with self._database.read() as tx:
                job = jobs.get(tx, job_id)
            with about(**about_job(job)):
                logger.info("A step lost its worker for the last time; the job goes on, or ends")
            self._doorbell.plan(job.id, job.spec["recipe"]["target"]["device"], job.priority)

    def _broker_was_wiped(self) -> bool:
        """True if the mark was not there any more; it is now."""
        try:
            return self._broker.set(_MARK, "1", nx=True) is not None
        except redis.RedisError as error:
            self._undelivered = True
            raise Unavailable(f"The broker did not answer: {error}", cure="Check BURNISH_BROKER_URL.") from error


def main() -> int:
    """Ticks until SIGTERM or SIGINT."""
    start_log("tick")
    try:
        settings = Settings.from_environment(os.environ)
    except BurnishError as error:
        print(f"burnish tick: {error}", file=sys.stderr)
        return 1
    start_log("tick", settings.log)
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    serve(settings, ended)
    return 0


def serve(settings: Settings, ended: threading.Event) -> None:
    """Ticks, has the blob store tidied and webhooks told, until `ended` is set.

    Pauses longer and longer while SQL or the broker is away.
    """
    database, doorbell = Database(settings.database_url), Doorbell(settings.broker_url)
    tick = Tick(database, doorbell, settings.broker_url)
    housekeeper = Housekeeper(settings)
    housekeeper.start()
    sender = Sender(settings)
    sender.start()
    pause = _EVERY
    while not ended.wait(pause):
        try:
            tick.once()
            pause = _EVERY
        except Unavailable as error:
            logger.warning("%s", error)
            pause = min(2 * pause, _LONGEST_PAUSE)
    sender.stop()
    housekeeper.stop()
    doorbell.close()
    database.close()


if __name__ == "__main__":
    sys.exit(main())
