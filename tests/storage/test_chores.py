"""Work that one process at a time does, every so often."""

from __future__ import annotations

from storage import chores
from storage.database import Database
from tests.storage.scene import Clock
from tests.storage.test_concurrency import at_once


def take(database: Database, name: str = "collect") -> bool:
    with database.begin() as tx:
        return chores.take(tx, name, 60.0)


def test_a_chore_is_due_at_first_and_then_after_its_pause(database: Database, clock: Clock) -> None:
    assert take(database)
    assert not take(database)
    clock.pass_(59)
    assert not take(database)
    clock.pass_(1)
    assert take(database)
    assert not take(database)


def test_chores_do_not_wait_for_each_other(database: Database) -> None:
    assert take(database)
    assert take(database, "sweep")


def test_of_many_that_ask_one_does_it(database: Database, clock: Clock) -> None:
    assert sum(at_once([lambda: take(database)] * 6)) == 1
    clock.pass_(60)
    assert sum(at_once([lambda: take(database)] * 6)) == 1
