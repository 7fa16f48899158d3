"""The databases of the storage suite: each test runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from storage.database import Database
from tests.storage.conftest import clock, database, database_url, migrated_postgres, migrated_sqlite, store
from tests.storage.scene import Clock
from tests.storage.schedule_scene import ScheduleScene

__all__ = ["clock", "database", "database_url", "migrated_postgres", "migrated_sqlite", "scene", "store"]


@pytest.fixture
def scene(database: Database, clock: Clock) -> ScheduleScene:
    """A database with a model `net`, and `samples` for it."""
    return ScheduleScene(database, clock)
