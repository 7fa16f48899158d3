"""Transfers wait for a store that is away, and for none when the work has to end."""

from __future__ import annotations

import threading
import time

import pytest

from burnish.errors import NotFound, Unavailable
from storage.database import Database
from tests.acceptance.service import until
from workers import retrying
from workers.lease import Lease
from workers.transfer import Stopped, transfer


@pytest.fixture
def lease(database: Database) -> Lease:
    """One whose thread is not started: nothing is told to SQL."""
    return Lease(database, "0" * 64, 1, 30.0)


def test_a_store_that_is_away_is_waited_for_and_what_and_since_when_is_told(lease: Lease) -> None:
    tries, told = [], []

    def fetch() -> str:
        tries.append(1)
        told.append(lease._progress()[1])
        if len(tries) < 3:
            raise Unavailable("The S3 store failed.", cure="Start it.")
        return "bytes"

    assert transfer(lease, "fetching inputs", fetch) == "bytes"
    assert told[0] == "fetching inputs"
    assert told[2].startswith("fetching inputs, waiting since ")
    assert told[2].endswith("UTC: The S3 store failed.")


@pytest.mark.parametrize("why", ["cancel", "drain", "lost"])
def test_a_store_that_hangs_keeps_nobody_who_has_to_end(lease: Lease, why: str) -> None:
    answer = threading.Event()
    threading.Timer(0.2, lease.end, (why,)).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        transfer(lease, "fetching inputs", answer.wait)
    assert time.monotonic() - began < 3.0
    assert any(thread.name == "transfer" for thread in threading.enumerate())
    answer.set()
    until(lambda: not any(thread.name == "transfer" for thread in threading.enumerate()))


def test_who_waits_for_a_store_to_come_back_ends_as_soon_as_it_has_to(lease: Lease) -> None:
    def away() -> None:
        lease.end("cancel")
        raise Unavailable("Away.", cure="Wait.")

    with pytest.raises(Stopped):
        transfer(lease, "storing outputs", away)


def test_after_the_patience_the_store_is_to_blame(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise Unavailable("Away.", cure="Wait.")

    monkeypatch.setattr(retrying, "PATIENCE", 0.0)
    with pytest.raises(Unavailable, match="Away"):
        transfer(lease, "fetching inputs", away)


def test_what_is_missing_is_told_at_once(lease: Lease) -> None:
    def missing() -> None:
        raise NotFound("No such blob.", cure="Look.")

    with pytest.raises(NotFound):
        transfer(lease, "fetching inputs", missing)
