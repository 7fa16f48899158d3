"""What the collector removes and evicts, what it never touches, and that nobody who races it loses anything."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage import blob_index, computations, eviction, jobs, models, steps
from storage.blob_digest import Blob
from storage.blobs_local import LocalBlobs
from storage.collector import Collected, Collector
from tests.storage.scene import Scene, chain

DAY = 86400.0


class Shelf:
    """A scene with a store: computations whose outputs have bytes."""

    def __init__(self, scene: Scene, store: LocalBlobs) -> None:
        self.scene, self.store, self.database = scene, store, scene.database

    def put(self, data: bytes) -> blob_index.Hold:
        """As a writer does, up to the point where it refers to the blob."""
        held: list[blob_index.Hold] = []

        def hold(blob: Blob) -> None:
            with self.database.begin() as tx:
                held.append(blob_index.hold(tx, blob))

        self.store.put([data], before=hold)
        return held[-1]

    def made(self, key: str, data: bytes, seconds: float = 1.0, *, end: bool = True) -> str:
        """A job whose one step made these bytes; it has succeeded if `end`. Gives the job's id."""
        job_id, attempt = self.scene.leased(key)
        self.commit(key, attempt, data, seconds)
        if end:
            assert self.scene.succeed_job(job_id)
        return job_id

    def commit(self, key: str, attempt: int, data: bytes, seconds: float = 1.0) -> None:
        held = self.put(data)
        with self.database.begin() as tx:
            outputs = {"out": held.blob.digest}
            assert computations.commit(tx, key, attempt, outputs=outputs, report={}, seconds=seconds, peak_memory=1)
            assert blob_index.confirm(tx, held)

    def collect(self, size: int = 0, keep: float = DAY, limit: int = 200) -> Collected:
        return Collector(self.database, self.store, keep=keep, size=size).once(limit)

    def there(self, data: bytes) -> bool:
        return self.store.size(digest(data)) is not None

    def is_hit(self, key: str) -> bool:
        return self.scene.computation(key).state == "done"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(scene: Scene, store: LocalBlobs) -> Shelf:
    return Shelf(scene, store)


def test_what_nothing_refers_to_goes_at_its_age(shelf: Shelf) -> None:
    held = shelf.put(b"left over")
    shelf.scene.clock.pass_(DAY - 1)
    assert shelf.collect() == Collected(evicted=0, removed=0, freed=0, over=0)
    shelf.scene.clock.pass_(2)
    assert shelf.collect() == Collected(evicted=0, removed=1, freed=9, over=0)
    assert not shelf.there(b"left over")
    with shelf.database.begin() as tx:
        assert not blob_index.confirm(tx, held)


def test_what_a_writer_holds_stays_whatever_its_age(shelf: Shelf) -> None:
    shelf.put(b"about to be used")
    shelf.scene.clock.pass_(blob_index.HOLD - 1)
    assert shelf.collect(keep=0.0).removed == 0
    shelf.scene.clock.pass_(2)
    assert shelf.collect(keep=0.0).removed == 1


def test_uploads_stay_for_ever(shelf: Shelf) -> None:
    for data, register in ((b"model", shelf.scene.model), (b"dataset", shelf.scene.dataset)):
        shelf.put(data)
        register(digest=digest(data))
    shelf.scene.clock.pass_(1000 * DAY)
    assert shelf.collect(size=1) == Collected(evicted=0, removed=0, freed=0, over=0)
    assert shelf.there(b"model")
    assert shelf.there(b"dataset")


def test_results_stay_while_the_cache_is_within_its_size(shelf: Shelf) -> None:
    shelf.made("k", bytes(100))
    shelf.scene.clock.pass_(1000 * DAY)
    assert shelf.collect(size=100) == Collected(evicted=0, removed=0, freed=0, over=0)
    assert shelf.collect(size=0) == Collected(evicted=0, removed=0, freed=0, over=0)
    assert shelf.is_hit("k")


def test_the_cheapest_to_recompute_per_byte_goes_first_and_no_more_than_needed(shelf: Shelf) -> None:
    shelf.made("dear", b"1" * 100, seconds=50.0)  # 0.5 s a byte
    shelf.made("cheap", b"2" * 1000, seconds=100.0)  # 0.1 s a byte, though it took the longest
    shelf.made("middle", b"3" * 10, seconds=2.0)  # 0.2 s a byte
    assert shelf.collect(size=110) == Collected(evicted=1, removed=1, freed=1000, over=0)
    assert [shelf.is_hit(key) for key in ("dear", "cheap", "middle")] == [True, False, True]
    assert not shelf.there(b"2" * 1000)
    assert shelf.collect(size=109).freed == 10
    assert [shelf.is_hit(key) for key in ("dear", "middle")] == [True, False]


def test_what_was_evicted_is_computed_again_for_the_next_job(shelf: Shelf) -> None:
    job_id = shelf.made("k", b"result")
    assert shelf.collect(size=1).evicted == 1
    assert shelf.scene.states(job_id) == {"capture": "done"}
    assert shelf.scene.steps(job_id)["capture"].report == {}
    second = shelf.scene.ready("k")
    step = shelf.scene.steps(second)["capture"]
    assert (step.state, step.hit) == ("ready", False)
    shelf.commit("k", shelf.scene.won("k").attempt, b"result")
    assert shelf.scene.states(second) == {"capture": "done"}
    assert shelf.there(b"result")


@pytest.mark.parametrize("state", ["queued", "running", "canceling"])
def test_what_a_live_job_is_bound_to_is_never_evicted(shelf: Shelf, state: str) -> None:
    job_id = shelf.scene.running(*chain("capture", "prune"))
    shelf.scene.bind(job_id, "capture", "k")
    shelf.commit("k", shelf.scene.won("k").attempt, b"needed")
    if state == "canceling":
        shelf.scene.bind(job_id, "prune", "l")
        shelf.scene.won("l")
        assert shelf.scene.cancel(job_id).state == "canceling"
    elif state == "queued":
        waiting = shelf.scene.queued()
        assert shelf.scene.job(waiting).state == "queued"
    assert shelf.collect(size=1) == Collected(evicted=0, removed=0, freed=0, over=5)
    assert shelf.is_hit("k")


def test_what_a_computation_in_flight_reads_is_never_evicted(shelf: Shelf) -> None:
    """Also if no live job wants it any more: its worker may be reading."""
    shelf.made("k", b"input")
    with shelf.database.begin() as tx:
        computations.arm(
            tx, "l", op="prune", spec={}, inputs={"program": digest(b"input")}, key_parts={}, queue="cpu",
            alone=False, priority=5,
        )  # fmt: skip
    assert shelf.collect(size=1).evicted == 0
    assert shelf.is_hit("k")
    with shelf.database.begin() as tx:
        computations.abandon(tx, "l")
    assert shelf.collect(size=1).evicted == 1


def test_what_jobs_of_a_pinned_model_made_is_never_evicted(shelf: Shelf) -> None:
    model = shelf.scene.model()
    shelf.made("k", b"the artifact")
    with shelf.database.begin() as tx:
        assert models.pin(tx, model.id).pinned_at == shelf.scene.clock.now
    assert shelf.collect(size=1).evicted == 0
    with shelf.database.begin() as tx:
        assert models.unpin(tx, model.id).pinned_at is None
    assert shelf.collect(size=1).evicted == 1


def test_bytes_that_another_result_has_too_stay_with_it(shelf: Shelf) -> None:
    shelf.made("cheap", b"the same", seconds=1.0)
    job_id = shelf.scene.running()
    shelf.scene.bind(job_id, "capture", "live")
    shelf.commit("live", shelf.scene.won("live").attempt, b"the same", seconds=9.0)
    assert shelf.collect(size=1) == Collected(evicted=1, removed=0, freed=0, over=7)
    assert shelf.there(b"the same")
    assert not shelf.is_hit("cheap")
    assert shelf.is_hit("live")


def test_bytes_that_are_an_upload_too_stay(shelf: Shelf) -> None:
    shelf.made("k", b"split gave the whole file")
    shelf.scene.dataset("other", digest(b"split gave the whole file"))
    shelf.collect(size=1)
    assert shelf.there(b"split gave the whole file")


def test_a_run_does_no_more_than_its_limit_and_the_next_goes_on(shelf: Shelf) -> None:
    for number in range(5):
        shelf.made(f"k{number}", bytes([number]) * 10)
    assert shelf.collect(size=1, limit=2) == Collected(evicted=2, removed=2, freed=20, over=29)
    assert shelf.collect(size=1, limit=2) == Collected(evicted=2, removed=2, freed=20, over=9)
    assert shelf.collect(size=1, limit=2) == Collected(evicted=1, removed=1, freed=10, over=0)


def test_what_was_doomed_but_not_removed_is_removed_by_the_next_run(shelf: Shelf) -> None:
    """A collector that died between the two."""
    shelf.made("k", b"result")
    with shelf.database.begin() as tx:
        assert eviction.evict(tx, "k") == 6
    assert shelf.there(b"result")
    assert shelf.collect().removed == 1
    assert not shelf.there(b"result")


def test_bytes_that_were_removed_without_their_row_are_no_obstacle(shelf: Shelf) -> None:
    """A collector that died after the store's part."""
    shelf.made("k", b"result")
    with shelf.database.begin() as tx:
        eviction.evict(tx, "k")
    shelf.store.delete(digest(b"result"))
    assert shelf.collect().removed == 1


def test_a_put_between_dooming_and_removal_wins(shelf: Shelf) -> None:
    shelf.made("k", b"result")
    with shelf.database.begin() as tx:
        eviction.evict(tx, "k")
    second = shelf.scene.ready("k")
    attempt = shelf.scene.won("k").attempt
    held = shelf.put(b"result")
    assert shelf.collect(keep=0.0).removed == 0
    with shelf.database.begin() as tx:
        outputs = {"out": held.blob.digest}
        assert computations.commit(tx, "k", attempt, outputs=outputs, report={}, seconds=1, peak_memory=1) == [second]
        assert blob_index.confirm(tx, held)
    assert shelf.collect(keep=0.0).removed == 0
    assert shelf.there(b"result")


def test_a_removal_waits_for_a_writer_that_is_registering_and_then_leaves_the_blob(shelf: Shelf) -> None:
    held = shelf.put(b"an upload")
    shelf.scene.clock.pass_(2 * blob_index.HOLD)
    with ThreadPoolExecutor(1) as pool:
        with shelf.database.begin() as tx:
            assert blob_index.confirm(tx, held)
            models.create(tx, name="late", digest=held.blob.digest, size=9, signature={})
            removing = pool.submit(shelf.collect, keep=0.0)
            with pytest.raises(TimeoutError):
                removing.result(0.3)
        assert removing.result(30).removed == 0
    assert shelf.there(b"an upload")


def test_a_hold_waits_for_a_removal_and_then_the_put_writes_the_bytes_again(shelf: Shelf) -> None:
    shelf.put(b"bytes")
    shelf.scene.clock.pass_(2 * blob_index.HOLD)
    entered, go_on = threading.Event(), threading.Event()

    class Slow(LocalBlobs):
        def delete(self, digest: str) -> None:
            entered.set()
            assert go_on.wait(30)
            super().delete(digest)

    slow = Slow(shelf.store._root)
    with ThreadPoolExecutor(2) as pool:
        removing = pool.submit(Collector(shelf.database, slow, keep=0.0, size=0).once)
        assert entered.wait(30)
        putting = pool.submit(shelf.put, b"bytes")
        with pytest.raises(TimeoutError):
            putting.result(0.3)
        go_on.set()
        assert removing.result(30).removed == 1
        held = putting.result(30)
    assert shelf.there(b"bytes")
    with shelf.database.begin() as tx:
        assert blob_index.confirm(tx, held)


def test_an_eviction_waits_for_a_job_that_is_binding_and_then_leaves_the_result(shelf: Shelf) -> None:
    shelf.made("k", b"result")
    second = shelf.scene.running()
    with ThreadPoolExecutor(1) as pool:
        with shelf.database.begin() as tx:
            jobs.lock(tx, second)
            (step,) = steps.of_job(tx, second)
            bound = steps.bind(tx, step, key="k", inputs={}, key_parts={}, queue="cpu", alone=False, priority=5)
            assert bound.hit
            evicting = pool.submit(shelf.collect, size=1)
            with pytest.raises(TimeoutError):
                evicting.result(0.3)
        assert evicting.result(30).evicted == 0
    assert shelf.there(b"result")
    assert shelf.is_hit("k")


def test_an_eviction_waits_for_a_pin_that_is_being_set(shelf: Shelf) -> None:
    model = shelf.scene.model()
    shelf.made("k", b"result")
    with ThreadPoolExecutor(1) as pool:
        with shelf.database.begin() as tx:
            models.pin(tx, model.id)
            evicting = pool.submit(shelf.collect, size=1)
            with pytest.raises(TimeoutError):
                evicting.result(0.3)
        assert evicting.result(30).evicted == 0
    assert shelf.is_hit("k")


def test_no_hit_is_ever_without_its_bytes_while_two_collectors_race_the_jobs(shelf: Shelf) -> None:
    """Jobs bind to a few keys over and over, workers compute them, and two collectors evict all they may.

    SQLite gives its lock to whom it likes: a worker goes on when a collector had a whole round since its last job, or
    all jobs might be done before one is let in.
    """
    keys = [f"k{number}" for number in range(4)]
    ended = threading.Event()
    done: list[str] = []
    rounds: list[int] = []

    def work(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(12):
            key = order.choice(keys)
            job_id = shelf.scene.ready(key)
            while shelf.scene.states(job_id) != {"capture": "done"}:
                claim = shelf.scene.claim(key, worker=f"w{seed}")
                if claim is not None:
                    shelf.commit(key, claim.attempt, key.encode() * 10)
            # The job is live and its step done: what it will read must be there until it ends.
            assert shelf.there(key.encode() * 10), key
            assert shelf.is_hit(key)
            done.append(key)
            assert shelf.scene.succeed_job(job_id)
            enough = len(rounds) + 3  # one of the two collectors has ended two, and begun the later one after the job
            while len(rounds) < enough and not any(each.done() for each in collectors):
                time.sleep(0.001)

    def collect() -> None:
        while not ended.is_set():
            rounds.append(shelf.collect(size=1, keep=0.0).evicted)

    with ThreadPoolExecutor(5) as pool:
        collectors = [pool.submit(collect) for _ in range(2)]
        workers = [pool.submit(work, seed) for seed in range(3)]
        try:
            for each in workers:
                each.result(120)
        finally:
            ended.set()
        for each in collectors:
            each.result(30)
    assert sum(rounds) > 0
    assert len(done) == 36
    for key in keys:
        assert shelf.there(key.encode() * 10) or not shelf.is_hit(key)
