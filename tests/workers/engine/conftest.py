"""An engine without processes: a SQLite database, and keys for the scripted steps of the acceptance tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.database import Database
from tests.acceptance.scripted import BACKENDS, STEPS
from workers.catalogue import Catalogue
from workers.environment import Environment
from workers.keys import KeyMaker


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """With all tables."""
    opened = Database(f"sqlite:///{tmp_path / 'test.sqlite'}")
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def keys() -> KeyMaker:
    """Of the scripted steps on this machine."""
    return KeyMaker(Catalogue.read(STEPS, BACKENDS), Environment.of_this_machine("cpu"))
