"""The list of worker processes."""

from __future__ import annotations

from typing import Any

from storage import workers
from storage.database import Database
from tests.storage.scene import Clock, Scene

WORKER: dict[str, Any] = {
    "id": "wrk_1", "name": "box", "queues": ["cpu"], "device": "cpu", "isa": ["avx2"], "threads": 2, "memory": 1 << 33,
    "environment": "here", "versions": {"torch": "2.13"},
}  # fmt: skip


def announce(database: Database, **changed: Any) -> None:
    with database.begin() as tx:
        workers.announce(tx, **(WORKER | changed))


def live(database: Database, within: float = 60.0) -> list[str]:
    with database.read() as tx:
        return [worker.id for worker in workers.live(tx, within)]


def test_an_announced_worker_is_live(database: Database, clock: Clock) -> None:
    announce(database)
    with database.read() as tx:
        (worker,) = workers.live(tx)
    assert (worker.queues, worker.isa, worker.memory) == (["cpu"], ["avx2"], 1 << 33)
    assert worker.versions == {"torch": "2.13"}
    assert worker.started_at == worker.seen_at == clock.now


def test_a_worker_that_gives_no_sign_is_not_live(database: Database, clock: Clock) -> None:
    announce(database)
    clock.pass_(61)
    assert live(database) == []
    assert live(database, within=120) == ["wrk_1"]


def test_a_beat_keeps_it_live(database: Database, clock: Clock) -> None:
    announce(database)
    clock.pass_(50)
    with database.begin() as tx:
        assert workers.beat(tx, "wrk_1")
    clock.pass_(50)
    assert live(database) == ["wrk_1"]


def test_a_beat_of_an_unknown_worker_says_so(database: Database) -> None:
    with database.begin() as tx:
        assert not workers.beat(tx, "wrk_x")


def test_announcing_again_renews_what_is_known(database: Database, clock: Clock) -> None:
    announce(database)
    started = clock.now
    clock.pass_(100)
    announce(database, threads=4)
    with database.read() as tx:
        (worker,) = workers.live(tx)
    assert (worker.threads, worker.started_at, worker.seen_at) == (4, started, clock.now)


def test_a_worker_that_stops_leaves_the_list(database: Database) -> None:
    announce(database)
    with database.begin() as tx:
        workers.gone(tx, "wrk_1")
    assert live(database) == []


def test_what_each_worker_runs_is_known(scene: Scene) -> None:
    for key, worker in (("a", "w1"), ("b", "w2"), ("c", "w1")):
        scene.ready(key)
        scene.won(key, worker=worker)
    scene.ready("d")
    with scene.database.read() as tx:
        assert {worker: sorted(keys) for worker, keys in workers.running(tx).items()} == {"w1": ["a", "c"], "w2": ["b"]}
