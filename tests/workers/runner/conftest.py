"""A worker without a broker: a real zygote, a real store, SQLite on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.settings import Settings
from storage.blobs import BlobStore, open_store
from storage.database import Database
from tests.storage.scene import Clock
from tests.workers.engine.conftest import keys
from tests.workers.engine.scene import Scene
from tests.workers.engine.test_dispatch import Recorder
from tests.workers.runner.runs import Running
from workers.host_lock import HostLock
from workers.keys import KeyMaker
from workers.runner import Runner
from workers.scratch import Scratch
from workers.zygote_client import Zygote

__all__ = ["bell", "blobs", "clock", "database", "keys", "runner", "scene", "settings", "zygote"]


@pytest.fixture(scope="package")
def zygote() -> Iterator[Zygote]:
    made = Zygote("tests.acceptance.scripted", preload=())
    made.start()
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Running()


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    """On a clock that the test moves."""
    opened = Database(f"sqlite:///{tmp_path / 'test.sqlite'}", clock)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"BURNISH_DATA": str(tmp_path / "data"), "BURNISH_SLOTS": "1"})


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_store(settings.blobs_url)


@pytest.fixture
def bell() -> Recorder:
    return Recorder()


@pytest.fixture
def runner(
    settings: Settings,
    database: Database,
    blobs: BlobStore,
    bell: Recorder,
    zygote: Zygote,
    keys: KeyMaker,
    tmp_path: Path,
) -> Iterator[Runner]:
    scratch = Scratch(tmp_path / "scratch", "wrk_1")
    yield Runner(
        settings=settings, worker_id="wrk_1", database=database, blobs=blobs, doorbell=bell, zygote=zygote,
        keys=keys, scratch=scratch, host=HostLock(tmp_path / "host"),
    )  # fmt: skip
    scratch.close()


@pytest.fixture
def scene(database: Database, keys: KeyMaker) -> Scene:
    return Scene(database, keys)
