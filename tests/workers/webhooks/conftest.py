"""Real receivers, and the databases of the storage suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storage.conftest import clock, database, database_url, migrated_postgres, migrated_sqlite
from tests.workers.webhooks.receiver import Receiver, receiving

__all__ = ["clock", "database", "database_url", "migrated_postgres", "migrated_sqlite"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """One that answers 200."""
    with receiving() as made:
        yield made
