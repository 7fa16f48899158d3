"""The service that each test here gets, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import Service, service
from tests.postgres import fresh_database, postgres_url

__all__ = ["live", "postgres_url"]


@pytest.fixture(params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """A broker and a database; the test starts the workers and ticks it needs."""
    if request.param == "sqlite":
        with service(tmp_path) as made:
            yield made
        return
    with fresh_database(request.getfixturevalue("postgres_url")) as url, service(tmp_path, url) as made:
        yield made
