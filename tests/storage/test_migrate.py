"""Migrations make exactly the tables of `storage/tables.py`, once, whoever starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, create_engine, inspect
from sqlalchemy.engine import make_url

from storage.database import Database
from storage.tables import metadata
from tests.postgres import fresh_database

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new.sqlite'}"
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url:
        yield url


def tables(url: str) -> set[str]:
    engine = create_engine(make_url(url).set(drivername=_driver(url)))
    found = set(inspect(engine).get_table_names())
    engine.dispose()
    return found


def _driver(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql+psycopg"


EXPECTED = {*metadata.tables, "alembic_version"}


def test_an_empty_database_gets_all_tables(empty_url: str) -> None:
    database = Database(empty_url)
    database.migrate()
    database.close()
    assert tables(empty_url) == EXPECTED


def test_migrating_again_changes_nothing(empty_url: str) -> None:
    database = Database(empty_url)
    database.migrate()
    database.migrate()
    database.close()
    assert tables(empty_url) == EXPECTED


def test_two_processes_may_start_at_once(empty_url: str) -> None:
    command = [sys.executable, "-m", "storage.migrate"]
    environment = {**os.environ, "BURNISH_DATABASE_URL": empty_url}
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    assert tables(empty_url) == EXPECTED


def test_threads_of_one_process_may_start_at_once(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Database.migrate, databases))
    for database in databases:
        database.close()
    assert tables(empty_url) == EXPECTED


def test_the_migrations_make_what_the_tables_say(database_url: str) -> None:
    engine = create_engine(make_url(database_url).set(drivername=_driver(database_url)))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        inspector = inspect(connection)
        for table in metadata.tables.values():
            checks = {check["name"] for check in inspector.get_check_constraints(table.name)}
            expected = {str(c.name) for c in table.constraints if isinstance(c, CheckConstraint)}
            assert checks == expected
    engine.dispose()
