"""The contract suite's database: each test that asks for `database` or `scene` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from storage.blobs_local import LocalBlobs
from storage.database import Database
from storage.tables import metadata
from tests.postgres import fresh_database
from tests.storage.scene import Clock, Scene

EMPTY = ";".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
"""Quicker than TRUNCATE for tables of a few rows."""


@pytest.fixture(scope="session")
def migrated_postgres(postgres_url: str) -> Iterator[str]:
    """The URL of a database with all tables."""
    with fresh_database(postgres_url) as url:
        _migrate(url)
        yield url


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables."""
    path = tmp_path_factory.mktemp("sqlite") / "empty.sqlite"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def clock() -> Clock:
    """The database's clock, which stands still until a test moves it."""
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with all tables and no rows."""
    if request.param == "sqlite":
        copy = shutil.copy(request.getfixturevalue("migrated_sqlite"), tmp_path / "test.sqlite")
        return f"sqlite:///{copy}"
    url: str = request.getfixturevalue("migrated_postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(EMPTY.encode())
    return url


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    """The same, open, on the test's clock."""
    opened = Database(database_url, clock)
    yield opened
    opened.close()


@pytest.fixture
def scene(database: Database, clock: Clock) -> Scene:
    """The same, with short ways to set up jobs and computations."""
    return Scene(database, clock)


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobs:
    """An empty blob store; the tests of the stores themselves have their own."""
    return LocalBlobs(tmp_path / "blobs")


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()
