"""The app over real databases (SQLite and PostgreSQL) and a real blob folder."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import torch
from flask.testing import FlaskClient

from api.app import create_app
from burnish.settings import Settings
from storage.blobs import open_store
from storage.database import Database
from storage.tables import metadata
from tests.api.place import Place, RecordingBell
from tests.models import program
from tests.postgres import fresh_database
from tests.seaweed import Seaweed

EMPTY = ";".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
"""Quicker than TRUNCATE for tables of a few rows."""


@pytest.fixture(scope="session")
def model_bytes() -> bytes:
    """A real program: 20 features to 4 classes, batches of 1 to 256."""
    file = io.BytesIO()
    torch.export.save(program("mlp"), file)
    return file.getvalue()


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no rows, to copy."""
    path = tmp_path_factory.mktemp("empty") / "burnish.sqlite"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


@pytest.fixture(scope="session")
def shared_postgres(postgres_url: str) -> Iterator[str]:
    """One database on a real server, with all tables: making one per test would take most of the time."""
    with fresh_database(postgres_url) as url:
        database = Database(url)
        database.migrate()
        database.close()
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of either kind, without rows."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("shared_postgres")
        yield url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(EMPTY.encode())
    else:
        shutil.copy(request.getfixturevalue("empty_sqlite"), tmp_path / "burnish.sqlite")
        yield f"sqlite:///{tmp_path / 'burnish.sqlite'}"


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Iterator[Place]:
    """A whole service without workers, open."""
    yield from _place(database_url, tmp_path, {})


@pytest.fixture
def guarded(empty_sqlite: Path, tmp_path: Path) -> Iterator[Place]:
    """A service that wants the token `secret`."""
    shutil.copy(empty_sqlite, tmp_path / "burnish.sqlite")
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    yield from _place(f"sqlite:///{tmp_path / 'burnish.sqlite'}", tmp_path, {"BURNISH_TOKENS": digest})


@pytest.fixture
def place_on_s3(
    empty_sqlite: Path, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """A service whose blobs are on a real S3 server."""
    yield from _on_s3(empty_sqlite, seaweed, tmp_path / "through", monkeypatch, {})


@pytest.fixture
def direct_place(
    empty_sqlite: Path, seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    """The same, where clients may send files straight to that server."""
    more = {"BURNISH_DIRECT_UPLOADS": "on", "BURNISH_MAX_UPLOAD": "100MB"}
    yield from _on_s3(empty_sqlite, seaweed, tmp_path / "direct", monkeypatch, more)


@pytest.fixture
def direct_folder(empty_sqlite: Path, tmp_path: Path) -> Iterator[Place]:
    """Where that is wished for, but the blobs are in a folder."""
    shutil.copy(empty_sqlite, tmp_path / "burnish.sqlite")
    yield from _place(f"sqlite:///{tmp_path / 'burnish.sqlite'}", tmp_path, {"BURNISH_DIRECT_UPLOADS": "on"})


@pytest.fixture
def client(place: Place) -> FlaskClient:
    return place.client


def _on_s3(
    empty: Path, seaweed: Seaweed, folder: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> Iterator[Place]:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    folder.mkdir()
    shutil.copy(empty, folder / "burnish.sqlite")
    store = {"BURNISH_BLOBS_URL": seaweed.url(prefix=f"{folder.name}-{folder.parent.name}")}
    yield from _place(f"sqlite:///{folder / 'burnish.sqlite'}", folder, {**store, **environment})


def _place(database_url: str, folder: Path, environment: dict[str, str]) -> Iterator[Place]:
    settings = Settings.from_environment(
        {
            "BURNISH_DATABASE_URL": database_url,
            "BURNISH_BLOBS_URL": f"file://{folder / 'blobs'}",
            "BURNISH_BROKER_URL": "redis://127.0.0.1:1/0",
            "BURNISH_MAX_UPLOAD": "1MB",
            **environment,
        }
    )
    database, blobs, bell = Database(database_url), open_store(settings.blobs_url), RecordingBell()
    app = create_app(settings, database, blobs, bell)
    app.testing = False  # so that unknown errors are answered as they are in service
    yield Place(settings=settings, database=database, blobs=blobs, bell=bell, app=app, folder=folder)
    database.close()
