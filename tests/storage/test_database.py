"""Transactions, the clock, and the driver's errors in our words."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import select, text

from burnish.errors import BadSetting, BurnishError, DiskFull, InternalError, Unavailable
from storage import models
from storage.database import Database, Transaction
from storage.tables import models as table
from tests.storage.scene import Clock, Scene


def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    def work() -> None:
        with database.begin() as tx:
            models.create(tx, name="m", digest="a" * 64, size=1, signature={})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    with database.read() as tx:
        assert models.list_(tx, after=None, limit=1) == []


def test_the_clock_is_read_once_in_a_transaction(database: Database, clock: Clock) -> None:
    with database.begin() as tx:
        first = tx.now
        clock.pass_(5)
        assert tx.now == first


def test_without_a_clock_the_databases_own_is_used(database_url: str) -> None:
    database = Database(database_url)
    with database.read() as tx:
        assert abs(tx.now - time.time()) < 5
    database.close()


def test_a_reader_can_not_write(scene: Scene) -> None:
    with pytest.raises(BurnishError), scene.database.read() as tx:
        models.create(tx, name="m", digest="a" * 64, size=1, signature={})
    scene.model()  # and the connection writes again afterwards


def test_a_reader_sees_one_moment(scene: Scene) -> None:
    with scene.database.read() as tx:
        assert models.list_(tx, after=None, limit=9) == []
        scene.model()
        assert models.list_(tx, after=None, limit=9) == []


def test_a_savepoint_can_be_taken_back_alone(database: Database) -> None:
    row = {"id": "mdl_1", "name": "kept", "version": 1, "digest": "a", "size": 1, "signature": {}, "created_at": 0.0}
    with database.begin() as tx:
        with tx.savepoint():
            tx.insert_new(table, row)
        with tx.savepoint() as undo:
            tx.insert_new(table, {**row, "id": "mdl_2", "name": "undone"})
            undo()
    with database.read() as tx:
        assert list(tx.execute(select(table.c.name)).scalars()) == ["kept"]


def test_an_error_takes_a_savepoint_back_and_the_transaction_goes_on(scene: Scene) -> None:
    def work(tx: Transaction) -> None:
        with tx.savepoint():
            models.create(tx, name="undone", digest="a" * 64, size=1, signature={})
            tx.execute(text("SELECT 1 FROM nothing"))

    with scene.database.begin() as tx:
        with pytest.raises(InternalError, match="refused a statement"):
            work(tx)
        models.create(tx, name="kept", digest="a" * 64, size=1, signature={})
    with scene.database.read() as tx:
        assert [model.name for model in models.list_(tx, after=None, limit=9)] == ["kept"]


def test_what_follows_an_undo_belongs_to_the_transaction(scene: Scene) -> None:
    with scene.database.begin() as tx, tx.savepoint() as undo:
        models.create(tx, name="undone", digest="a" * 64, size=1, signature={})
        undo()
        models.create(tx, name="kept", digest="a" * 64, size=1, signature={})
    with scene.database.read() as tx:
        assert [model.name for model in models.list_(tx, after=None, limit=9)] == ["kept"]


def test_a_wrong_statement_is_a_bug_and_not_an_outage(database: Database) -> None:
    with pytest.raises(InternalError, match="refused a statement"), database.begin() as tx:
        tx.execute(text("nonsense"))


def test_a_full_disk_is_told_from_an_outage(migrated_sqlite: Path, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'full.sqlite')}")
    with database.begin() as tx:
        tx.execute(text("PRAGMA max_page_count = 1"))  # no page more than there are; lasts as long as the connection
    with pytest.raises(DiskFull), database.begin() as tx:
        models.create(tx, name="m", digest="a" * 64, size=1, signature={"": "x" * 1_000_000})
    database.close()


def test_a_number_that_is_no_json_is_refused(database: Database) -> None:
    with pytest.raises(InternalError), database.begin() as tx:
        models.create(tx, name="m", digest="a" * 64, size=1, signature={"loss": float("nan")})


def test_text_in_json_comes_back_as_it_was(database: Database) -> None:
    odd = {"log": "\0 \ud800 µ ✓", "b": 1, "a": 2}
    with database.begin() as tx:
        made = models.create(tx, name="m", digest="a" * 64, size=1, signature=odd)
    assert list(made.signature.items()) == list(odd.items())


def test_a_server_that_is_not_there_is_unavailable() -> None:
    database = Database("postgresql://user:secret@127.0.0.1:1/none")
    with pytest.raises(Unavailable, match="did not answer") as caught, database.begin():
        pass
    assert "secret" not in str(caught.value)


def test_a_lost_connection_is_unavailable_and_the_next_one_works(postgres_url: str) -> None:
    database = Database(postgres_url)
    with pytest.raises(Unavailable), database.begin() as tx:
        tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with database.begin() as tx:
        assert tx.execute(text("SELECT 1")).scalar_one() == 1
    database.close()


def test_a_connection_that_died_while_it_was_idle_is_replaced_unnoticed(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.database._TRUSTED", 0.0)
    database, other = Database(postgres_url), Database(postgres_url)
    with database.begin() as tx:
        pid = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with other.begin() as tx:
        tx.execute(text(f"SELECT pg_terminate_backend({pid}, 5000)"))
    with database.begin() as tx:
        assert tx.execute(text("SELECT pg_backend_pid()")).scalar_one() != pid
    database.close()
    other.close()


def test_a_locked_file_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.database._BUSY_SECONDS", 0)
    path = tmp_path / "locked.sqlite"
    database = Database(f"sqlite:///{path}")
    with database.begin():
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="kept what this one needs locked"), database.begin():
        pass
    other.close()
    database.close()


def test_a_lock_that_another_holds_is_told_from_an_outage(postgres_url: str) -> None:
    one, other = Database(postgres_url), Database(postgres_url)
    with one.begin() as tx:
        tx.execute(text("SELECT pg_advisory_xact_lock(1)"))
        late = text("SET LOCAL lock_timeout = '20ms'; SELECT pg_advisory_xact_lock(1)")
        with pytest.raises(Unavailable, match="kept what this one needs locked"), other.begin() as waiting:
            waiting.execute(late)
    one.close()
    other.close()


def test_a_deadlock_is_told_from_an_outage(postgres_url: str) -> None:
    database, both = Database(postgres_url), threading.Barrier(2)

    def crossed(first: int, second: int) -> str:
        try:
            with database.begin() as tx:
                tx.execute(text(f"SELECT pg_advisory_xact_lock({first})"))
                both.wait(10)
                tx.execute(text(f"SELECT pg_advisory_xact_lock({second})"))
        except Unavailable as error:
            return error.message
        return "through"

    with ThreadPoolExecutor(2) as pool:
        told = set(pool.map(crossed, (1, 2), (2, 1)))
    assert told == {"through", "Two transactions waited for each other; the database ended this one."}
    database.close()


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """SQLite fails one of two that turn on its log at once, without waiting: some rounds of 100 did."""

    def open_(url: str, start: threading.Barrier) -> None:
        database = Database(url)
        start.wait()
        with database.begin() as tx:
            assert tx.now > 0
        database.close()

    with ThreadPoolExecutor(4) as pool:
        for number in range(100):
            start, url = threading.Barrier(4), f"sqlite:///{tmp_path / str(number)}"
            list(pool.map(lambda _, url=url, start=start: open_(url, start), range(4)))


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Not a database at all. " * 100)
    with pytest.raises(BadSetting, match="no SQLite database") as caught:
        Database(f"sqlite:///{path}").migrate()
    assert "move that one away" in caught.value.cure
    assert path.read_text().startswith("Not a database")


def test_a_damaged_file_is_told_as_such(migrated_sqlite: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.sqlite"
    whole = migrated_sqlite.read_bytes()
    path.write_bytes(whole[:4096] + bytes(255 - byte for byte in whole[4096:]))
    database = Database(f"sqlite:///{path}")
    with pytest.raises(InternalError, match="damaged") as caught, database.read() as tx:
        tx.execute(select(table)).all()
    assert "back-up" in caught.value.cure
    database.close()


def test_too_few_connections_are_told_from_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.database._BUSY_SECONDS", 0)
    monkeypatch.setattr("storage.database._CONNECTIONS", 4)
    database = Database(f"sqlite:///{tmp_path / 'busy.sqlite'}")
    with ExitStack() as held:
        for _ in range(4):
            held.enter_context(database.read())
        with pytest.raises(Unavailable, match="All 4 connections"), database.read():
            pass
    database.close()


def test_the_folder_of_a_new_file_is_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a/b/new.sqlite")
    database.migrate()
    database.close()
    assert (tmp_path / "a" / "b" / "new.sqlite").exists()


@pytest.mark.parametrize("url", ["nonsense", "mysql://h/d", "sqlite://", "sqlite:///:memory:"])
def test_an_address_that_is_no_database_of_ours_is_refused(url: str) -> None:
    with pytest.raises(BadSetting):
        Database(url)
