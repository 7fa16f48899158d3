"""What the routes work with, made once at the entry point and passed down by the app."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Protocol, cast

from flask import current_app

from api.errors import Refused
from api.feed import Feed
from api.probes import Probes
from burnish.settings import Settings
from storage.blobs import BlobStore
from storage.database import Database

__all__ = ["STREAMS", "Bell", "Services", "Slots", "services"]

STREAMS = 400
"""Event streams that a process has open at most. Each holds a thread that waits."""


class Bell(Protocol):
    """What the API needs of the broker: `storage.doorbell.Doorbell` is it."""

    def plan(self, job_id: str, queue: str, priority: int) -> None:
        """Says that a job may be planned. Raises `Unavailable`."""


class Slots:
    """At most `limit` at once; who comes when all are taken is refused, not queued (waiting would hold a thread)."""

    def __init__(self, limit: int, what: str, cure: str) -> None:
        self._free = BoundedSemaphore(limit)
        self._limit = limit
        self._what = what
        self._cure = cure

    def take(self) -> None:
        """Takes a slot, to be given back by `give`.

        Raises:
            Refused: all are taken (503).
        """
        if not self._free.acquire(blocking=False):
            raise Refused(
                503,
                f"{self._limit} {self._what} are open, and more would starve other requests.",
                cure=self._cure,
                headers={"Retry-After": "2"},
            )

    def give(self) -> None:
        """Gives a slot back."""
        self._free.release()


def _streams() -> Slots:
    return Slots(STREAMS, "event streams", "Poll the job or its events (`?after=`) instead, or try again later.")


def _transfers() -> Slots:
    return Slots(6, "uploads and downloads", "Try again in a few seconds.")


@dataclass(frozen=True, kw_only=True)
class Services:
    """The outside world of the API. Sixteen requests are worked on at once (`api/server.py`), of which six may be
    transfers, so that ten are always there for what answers at once. Event streams have threads of their own."""

    settings: Settings
    database: Database
    blobs: BlobStore
    doorbell: Bell
    feed: Feed
    """What event streams are given."""
    streams: Slots = field(default_factory=_streams)
    transfers: Slots = field(default_factory=_transfers)
    probes: Probes = field(default_factory=Probes)
    """Whether the parts outside answer."""


def services() -> Services:
    """Those of the app that handles the present request."""
    return cast(Services, current_app.extensions["burnish"])
