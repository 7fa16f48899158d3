"""Which blobs there are, and who holds them."""

from __future__ import annotations

from sqlalchemy import select

from storage import blob_index, removal
from storage.blob_digest import Blob
from storage.blobs_local import LocalBlobs
from storage.database import Database
from storage.tables import blobs, holds
from tests.storage.scene import Clock

BLOB = Blob(digest="a" * 64, size=5_000_000_000)


def hold(database: Database) -> blob_index.Hold:
    with database.begin() as tx:
        return blob_index.hold(tx, BLOB)


def confirm(database: Database, held: blob_index.Hold) -> bool:
    with database.begin() as tx:
        return blob_index.confirm(tx, held)


def test_a_blob_held_again_keeps_its_first_time(database: Database, clock: Clock) -> None:
    first = clock.now
    hold(database)
    clock.pass_(10)
    hold(database)
    with database.read() as tx:
        rows = tx.execute(select(blobs)).all()
    assert [tuple(row) for row in rows] == [(BLOB.digest, BLOB.size, first, first + 10, None)]


def test_a_hold_is_confirmed_once(database: Database) -> None:
    held = hold(database)
    assert confirm(database, held)
    assert not confirm(database, held)
    with database.read() as tx:
        assert tx.execute(select(holds)).all() == []


def test_each_writer_has_a_hold_of_its_own(database: Database) -> None:
    one, other = hold(database), hold(database)
    assert confirm(database, one)
    assert confirm(database, other)


def test_a_blob_that_was_removed_and_came_again_is_not_the_one_that_was_held(
    database: Database, store: LocalBlobs, clock: Clock
) -> None:
    held = hold(database)
    clock.pass_(blob_index.HOLD + 1)
    with database.begin() as tx:
        assert removal.remove(tx, store, BLOB.digest, before=clock.now) == BLOB.size
    assert not confirm(database, held)
    again = hold(database)
    assert not confirm(database, held)
    assert confirm(database, again)
