"""A worker process, put together: database, store, doorbell, zygote, runner, Celery, and its signs of life."""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

from celery.exceptions import SecurityWarning
from celery.signals import worker_ready, worker_shutting_down

from burnish.errors import BadSetting, BurnishError
from burnish.local import tpu
from burnish.settings import Settings
from storage import workers as worker_rows
from storage.blobs import open_store
from storage.counters import Tally
from storage.database import Database
from storage.doorbell import Doorbell
from storage.ids import new_id
from storage.timed_blobs import timed
from workers.app import make_app
from workers.environment import Environment
from workers.host_lock import HostLock, default_folder
from workers.keys import KeyMaker
from workers.plan_consumer import PlanConsumer
from workers.runner import Runner
from workers.scratch import Scratch
from workers.zygote_client import PRELOAD, Zygote

__all__ = ["GRACE", "TABLE", "leave", "run_worker"]

logger = logging.getLogger(__name__)

TABLE = "workers.steps.table"
GRACE = 20.0
"""Seconds that running steps have to finish after SIGTERM, before they are stopped and given back."""
_BEAT = 10.0
_LOOK = 0.02


def run_worker(
    settings: Settings, *, table: str = TABLE, preload: Sequence[str] = PRELOAD, grace: float = GRACE
) -> None:
    """Serves until SIGTERM or SIGINT. Call it from the main thread.

    Args:
        table: module with `STEPS` and `BACKENDS`.
        preload: modules the zygote imports beside it.

    Raises:
        BadSetting: it is to serve TPUs, and none can be used from here.
    """
    if "tpu" in settings.queues and (found := tpu.problem()):
        raise BadSetting(found[0], cure=found[1], where="BURNISH_QUEUES")
    settings.data.mkdir(parents=True, exist_ok=True)
    environment = Environment.of_this_machine(settings.queues[0])
    slots = settings.slots or environment.threads
    worker_id = new_id("wrk")
    database = Database(settings.database_url)
    database.migrate()
    tally = Tally()
    database.observe(partial(tally.observe, "worker_calls", "sql"))
    doorbell = Doorbell(settings.broker_url)
    zygote = Zygote(table, preload)
    scratch = Scratch(settings.data / "scratch", worker_id)
    keys = KeyMaker(zygote.start(), environment)
    runner = Runner(
        settings=settings,
        worker_id=worker_id,
        database=database,
        blobs=timed(open_store(settings.blobs_url), partial(tally.observe, "worker_calls")),
        doorbell=doorbell,
        zygote=zygote,
        keys=keys,
        scratch=scratch,
        host=HostLock(default_folder()),
    )
    presence = _Presence(database, worker_id, settings, environment, tally)
    planner = PlanConsumer(settings.broker_url, settings.queues, runner.plan)
    app = make_app(settings.broker_url, runner, settings.queues)

    def drain(**_: object) -> None:
        threading.Thread(target=runner.drain, args=(grace,), name="drain", daemon=True).start()

    worker_shutting_down.connect(drain, weak=False)
    worker_ready.connect(_Alert(), weak=False)
    # Celery warns of running as root because of pickled messages; ours are JSON, and steps give their rights up.
    warnings.simplefilter("ignore", SecurityWarning)
    presence.start()
    planner.start()
    logger.info("Worker %s serves %s with %d slots", worker_id, ", ".join(settings.queues), slots)
    try:
        app.Worker(
            pool="threads",
            concurrency=slots,
            hostname=f"{worker_id}@{platform.node()}",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            loglevel="WARNING",
            quiet=True,
        ).start()
    finally:
        planner.stop()
        presence.stop()
        zygote.close()
        scratch.close()
        doorbell.close()
        database.close()


def leave(status: int) -> NoReturn:
    """Ends the process at once, whatever its threads wait for: a store that hangs must not keep a worker."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Alert:
    """Has Celery's loop look often for a slot that has come free.

    With prefetch disabled it asks the broker for nothing while all slots are taken, and a thread that ends its task
    does not wake it: it would go on only with its next timer, up to a second later.
    """

    def __init__(self) -> None:
        self._timer: Any = None

    def __call__(self, sender: Any, **_: object) -> None:
        if self._timer is not None:  # ready again, after the broker was away
            self._timer.cancel()
        if sender.hub is not None:
            self._timer = sender.hub.call_repeatedly(_LOOK, _look)


def _look() -> None:
    """Nothing: that the loop turns is enough."""


class _Presence:
    """Announces the worker, beats every ten seconds, and says goodbye. With each goes what was measured since."""

    def __init__(
        self, database: Database, worker_id: str, settings: Settings, environment: Environment, tally: Tally
    ) -> None:
        self._tally = tally
        self._database, self._id = database, worker_id
        self._settings, self._environment = settings, environment
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._announce()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(5.0)
        try:
            with self._tally.writing(self._database.begin()) as tx:
                worker_rows.gone(tx, self._id)
        except BurnishError as error:
            logger.warning("Could not say goodbye: %s", error)  # the row goes stale by itself

    def _run(self) -> None:
        while not self._ended.wait(_BEAT):
            try:
                with self._tally.writing(self._database.begin()) as tx:
                    known = worker_rows.beat(tx, self._id)
                if not known:
                    self._announce()
            except BurnishError as error:
                logger.warning("No sign of life was written: %s", error)

    def _announce(self) -> None:
        here = self._environment
        with self._database.begin() as tx:
            worker_rows.announce(
                tx,
                id=self._id,
                name=f"{platform.node()}:{os.getpid()}",
                queues=self._settings.queues,
                device=here.device,
                isa=here.isa,
                threads=here.threads,
                memory=here.memory,
                environment=here.fingerprint,
                versions=here.versions,
            )
