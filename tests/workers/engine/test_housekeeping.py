"""The blob store is tidied by one tick at a time, whatever state it is in."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.errors import Unavailable
from burnish.settings import Settings
from storage import blob_index, uploads
from storage.blob_digest import Blob
from storage.blobs import BlobStore, open_store
from storage.database import Database
from tests.storage.scene import Clock
from workers import housekeeping
from workers.housekeeping import Housekeeper


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings.from_environment({"BURNISH_DATA": str(tmp_path / "data"), "BURNISH_KEEP": "1h"})
    Database(made.database_url).migrate()
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keeper(settings: Settings, clock: Clock) -> Iterator[Housekeeper]:
    made = Housekeeper(settings)
    made._database = Database(settings.database_url, clock)
    yield made
    made._database.close()


@pytest.fixture
def store(settings: Settings) -> BlobStore:
    return open_store(settings.blobs_url)


def leave(keeper: Housekeeper, store: BlobStore, data: bytes) -> str:
    """A blob that nothing refers to, put by a writer that never came back."""
    with keeper._database.begin() as tx:
        blob_index.hold(tx, Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data)), seconds=60.0)
    return store.put([data]).digest


def test_what_nothing_refers_to_is_removed_at_the_age_that_is_set(
    keeper: Housekeeper, store: BlobStore, clock: Clock
) -> None:
    digest = leave(keeper, store, b"left over")
    clock.pass_(3599)
    keeper.once()
    assert store.size(digest) is not None
    clock.pass_(61)
    keeper.once()
    assert store.size(digest) is None


def test_it_is_done_once_a_minute_however_many_ticks_there_are(
    keeper: Housekeeper, store: BlobStore, clock: Clock
) -> None:
    digest = leave(keeper, store, b"left over")
    clock.pass_(3541)
    keeper.once()
    clock.pass_(59.5)
    keeper.once()
    assert store.size(digest) is not None
    clock.pass_(1)
    keeper.once()
    assert store.size(digest) is None


def test_a_store_that_is_away_is_told_and_tried_again(
    settings: Settings, keeper: Housekeeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = threading.Semaphore(0)

    def away(_: str) -> BlobStore:
        tried.release()
        raise Unavailable("The S3 store failed.", cure="Check it.")

    monkeypatch.setattr(housekeeping, "open_store", away)
    monkeypatch.setattr(housekeeping, "_LOOK", 0.01)
    monkeypatch.setattr(housekeeping, "_COLLECT", 0.0)
    keeper.start()
    assert tried.acquire(timeout=30)
    assert tried.acquire(timeout=30)
    keeper.stop()
    assert "not tidied" in caplog.text


def test_an_upload_that_stands_still_is_given_up_with_its_parts(
    keeper: Housekeeper, store: BlobStore, clock: Clock
) -> None:
    with keeper._database.begin() as tx:
        upload = uploads.create(tx, kind="model", name="net", size=9, sha256=None)
        held = blob_index.hold(tx, store.put([b"part"]))
        uploads.add_part(tx, upload, 1, held)
    clock.pass_(uploads.KEEP - 1)
    keeper.once()
    assert store.size(held.blob.digest) == 4
    clock.pass_(61)
    keeper.once()
    assert store.size(held.blob.digest) is None
