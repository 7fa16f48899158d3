"""Which blobs there are."""

from __future__ import annotations

from sqlalchemy import select

from storage import blob_index
from storage.database import Database
from storage.tables import blobs
from tests.storage.scene import Clock


def test_a_blob_seen_again_keeps_its_first_time(database: Database, clock: Clock) -> None:
    first = clock.now
    for _ in range(2):
        with database.begin() as tx:
            blob_index.seen(tx, "a" * 64, 5_000_000_000)
        clock.pass_(10)
    with database.read() as tx:
        rows = tx.execute(select(blobs)).all()
    assert [tuple(row) for row in rows] == [("a" * 64, 5_000_000_000, first, first + 10)]
