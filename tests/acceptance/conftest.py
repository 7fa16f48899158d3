"""The service that each test here gets: on SQLite, and where the database matters on PostgreSQL too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import Service, service
from tests.postgres import fresh_database

__all__ = ["anywhere", "here", "running"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """On SQLite, with a worker and a tick, for tests that kill nothing. Each has a script of its own, so that no test
    finds in the cache what another computed."""
    with service(tmp_path_factory.mktemp("running")) as made:
        made.start_worker(slots=4)
        made.start_tick()
        yield made


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Service]:
    """A broker and a SQLite database; the test starts the workers and ticks it needs."""
    with service(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """The same, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        with service(tmp_path) as made:
            yield made
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url, service(tmp_path, url) as made:
        yield made
