"""The page of the fleet: workers and what they run, queues, and how well the cache does."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from apiflask import APIBlueprint
from flask import Response, current_app

from api.live_pages import live_fragment, live_page
from api.replies import moment
from api.services import services
from storage import eviction, figures, fleet, workers
from storage.database import Database, Transaction
from storage.figures import Figures

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages_fleet", __name__, enable_openapi=False)

_MEASURED_EVERY = 15.0
"""Seconds that a cache size is shown for: summing it up reads every blob's row."""


@blueprint.get("/fleet")
def fleet_page() -> Response:
    """All of it."""
    return live_page("fleet", **_shown())


@blueprint.get("/fleet/fragment")
def fleet_fragment() -> Response:
    """What changes of it."""
    return live_fragment("fleet", **_shown())


@dataclass(frozen=True)
class Queue:
    """A device class."""

    name: str
    workers: int
    waiting: int
    running: int
    done: int
    failed: int
    since: str | None
    """ISO time since which the oldest computation waits."""


class CacheSize:
    """The bytes in the cache, summed up now and then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._known: tuple[float, int] | None = None

    def now(self) -> int:
        """As it was `_MEASURED_EVERY` seconds ago at most."""
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > _MEASURED_EVERY:
                with self._database.read() as tx:
                    self._known = time.monotonic(), eviction.cache_size(tx)
            return self._known[1]


def _shown() -> dict[str, Any]:
    cached = current_app.extensions.setdefault("burnish.cache_size", CacheSize(services().database)).now()
    with services().database.read() as tx:
        found = figures.figures(tx)
        running = fleet.at_work(tx)
        queues, live, now = _queues(tx, found), workers.live(tx), tx.now
    asked = found.cache_hits + found.cache_misses
    waiting = sum(queue.waiting for queue in queues)
    return {
        "queues": queues,
        "live": live,
        "now": now,
        "running": running,
        "moment": moment,
        "cached": cached,
        "limit": services().settings.cache_size or None,
        "hit_rate": found.cache_hits / asked if asked else None,
        "asked": round(asked),
        "waiting": waiting,
        "at_work": sum(len(each) for each in running.values()),
        "unfinished": bool(running) or waiting > 0,
        "fragment_url": "/fleet/fragment",
        "here": "fleet",
    }


def _queues(tx: Transaction, found: Figures) -> list[Queue]:
    def count(state: str, name: str) -> int:
        return round(found.computations.get((state, name), 0.0))

    return [
        Queue(
            name=name,
            workers=served,
            waiting=count("ready", name),
            running=count("leased", name),
            done=count("done", name),
            failed=count("failed", name),
            since=moment(round(tx.now - found.queue_age[name])).isoformat() if count("ready", name) else None,
        )
        for name, served in found.workers.items()
    ]
