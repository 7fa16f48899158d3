"""Checkpoints: written by who holds the lease, one a computation, kept from the collector until they are dropped."""

from __future__ import annotations

import hashlib

import pytest

from storage import checkpoints
from storage.blob_digest import Blob
from storage.blobs_local import LocalBlobs
from storage.collector import Collector
from tests.storage.scene import Clock, Scene

DAY = 86400.0


class Shelf:
    """A scene with a store that checkpoints are put in."""

    def __init__(self, scene: Scene, store: LocalBlobs) -> None:
        self.scene, self.store, self.database = scene, store, scene.database

    def keep(self, attempt: int, data: bytes) -> bool:
        """As the worker does."""
        held: list[checkpoints.Hold] = []

        def hold(blob: Blob) -> None:
            with self.database.begin() as tx:
                held.append(checkpoints.hold(tx, blob))

        self.store.put([data], before=hold)
        with self.database.begin() as tx:
            return checkpoints.keep(tx, "k", attempt, held[-1])

    def of(self) -> str | None:
        with self.database.read() as tx:
            return checkpoints.of(tx, "k")

    def collect(self) -> None:
        Collector(self.database, self.store, keep=1.0, size=0).once()

    def there(self, data: bytes) -> bool:
        return self.store.size(_digest(data)) is not None


@pytest.fixture
def shelf(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(scene, LocalBlobs(tmp_path_factory.mktemp("store")))


def test_the_next_attempt_finds_what_the_last_one_left(shelf: Shelf) -> None:
    _, attempt = shelf.scene.leased()
    assert shelf.of() is None
    assert shelf.keep(attempt, b"one")
    assert shelf.keep(attempt, b"two")
    assert shelf.of() == _digest(b"two")


def test_who_lost_the_lease_leaves_nothing(shelf: Shelf, clock: Clock) -> None:
    _, attempt = shelf.scene.leased()
    assert shelf.keep(attempt, b"first")
    clock.now += shelf.scene.ttl + 1
    shelf.scene.won(worker="heir")
    assert not shelf.keep(attempt, b"late")
    assert shelf.of() == _digest(b"first")


def test_the_collector_removes_only_what_was_replaced_or_dropped(shelf: Shelf, clock: Clock) -> None:
    _, attempt = shelf.scene.leased()
    shelf.keep(attempt, b"one")
    shelf.keep(attempt, b"two")
    clock.now += DAY
    shelf.collect()
    clock.now += DAY
    shelf.collect()
    assert (shelf.there(b"one"), shelf.there(b"two")) == (False, True)
    with shelf.database.begin() as tx:
        checkpoints.drop(tx, "k")
    assert shelf.of() is None
    clock.now += DAY
    shelf.collect()
    clock.now += DAY
    shelf.collect()
    assert not shelf.there(b"two")


def test_one_that_nobody_comes_back_for_lapses(shelf: Shelf, clock: Clock) -> None:
    _, attempt = shelf.scene.leased()
    shelf.keep(attempt, b"one")
    clock.now += checkpoints.KEPT + 1
    with shelf.database.begin() as tx:
        checkpoints.lapse(tx)
    assert shelf.of() is None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
