"""A Celery app with nothing of ours: what a task costs that does nothing. Its broker is in `BARE_BROKER`."""

from __future__ import annotations

import os
import time

import redis
from celery import Celery

from storage.doorbell import broker_options

__all__ = ["DONE", "QUEUE", "STARTED", "app"]

QUEUE, DONE, STARTED = "bare", "bare:done", "bare:started"

app = Celery("bare", broker=os.environ.get("BARE_BROKER", "redis://127.0.0.1:1/0"))
app.conf.update(broker_options())
app.conf.update(worker_enable_remote_control=False)


@app.task(name="bare.noop")  # type: ignore[untyped-decorator]  # celery ships no types
def noop(last: bool) -> None:
    """Does nothing; the last of a round says that it is over."""
    if last:
        _broker().set(DONE, "1")


@app.task(name="bare.when")  # type: ignore[untyped-decorator]
def when() -> None:
    """Tells when it began."""
    _broker().rpush(STARTED, repr(time.time()))


def _broker() -> redis.Redis:
    return redis.Redis.from_url(os.environ["BARE_BROKER"])
