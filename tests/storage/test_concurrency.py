"""Threads that want the same thing at the same moment: exactly one gets it, nobody deadlocks, nothing is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pytest

from burnish.errors import Conflict
from storage import computations, idempotency, jobs, models, steps
from storage.records import Model
from tests.storage.scene import Scene, chain

ResultT = TypeVar("ResultT")
THREADS = 8


def at_once(calls: Sequence[Callable[[], ResultT]]) -> list[ResultT]:
    """Runs all of them, each in a thread of its own, from one starting signal."""
    start = threading.Barrier(len(calls))

    def run(call: Callable[[], ResultT]) -> ResultT:
        start.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_of_many_claims_exactly_one_wins(scene: Scene) -> None:
    scene.ready()
    claims = at_once([partial(scene.claim, worker=f"w{n}") for n in range(THREADS)])
    (won,) = (claim for claim in claims if claim is not None)
    assert (won.attempt, scene.computation().attempt) == (1, 1)


def test_of_many_claims_of_a_lapsed_lease_exactly_one_wins(scene: Scene) -> None:
    scene.leased()
    scene.clock.pass_(scene.ttl + 1)
    claims = at_once([partial(scene.claim, worker=f"v{n}") for n in range(THREADS)])
    (won,) = (claim for claim in claims if claim is not None)
    assert (won.attempt, won.failures, len(won.reasons)) == (2, 1, 1)


def test_of_many_plans_exactly_one_wins(scene: Scene) -> None:
    job_id = scene.queued()

    def plan() -> bool:
        with scene.database.begin() as tx:
            return jobs.plan(tx, job_id, chain("capture", "prune"))

    assert sum(at_once([plan] * THREADS)) == 1
    assert len(scene.steps(job_id)) == 2


def test_of_many_reapers_one_counts_the_failure(scene: Scene) -> None:
    scene.leased()
    scene.clock.pass_(scene.ttl + 1)
    at_once([scene.reap] * 4)
    assert (scene.computation().state, scene.computation().failures) == ("ready", 1)


def test_each_due_computation_is_given_to_one_tick(scene: Scene) -> None:
    keys = [f"k{n}" for n in range(12)]
    for key in keys:
        scene.ready(key)
    rung = at_once([lambda: scene.due(limit=3)] * 4)
    given = [key for some in rung for key in some]
    assert len(given) == len(set(given))
    assert sorted(given + scene.due()) == sorted(keys)


def test_uploads_of_one_name_get_different_versions(scene: Scene) -> None:
    digests = [str(n) * 64 for n in range(THREADS)]
    made: list[Model] = at_once([partial(scene.model, "lenet", digest) for digest in digests])
    assert sorted(model.version for model in made) == list(range(1, THREADS + 1))


def test_uploads_of_the_same_bytes_are_one_version(scene: Scene) -> None:
    made = at_once([lambda: scene.model("lenet", "a" * 64)] * THREADS)
    assert len({model.id for model in made}) == 1


def test_of_many_requests_with_one_idempotency_key_one_does_the_work(scene: Scene) -> None:
    def post() -> dict[str, object]:
        with scene.database.begin() as tx:
            stored = idempotency.claim(tx, "models", "key", "body")
            if stored is not None:
                return stored
            made = models.create(tx, name="lenet", digest="a" * 64, size=1, signature={})
            response: dict[str, object] = {"id": made.id}
            idempotency.remember(tx, "models", "key", response)
            return response

    answers = at_once([post] * THREADS)
    assert len({str(answer) for answer in answers}) == 1


def test_a_job_that_binds_itself_during_a_commit_gets_the_result(scene: Scene) -> None:
    """The commit has to wait for the binding, and then to see it."""
    _, attempt = scene.leased()
    second = scene.running()
    with ThreadPoolExecutor(1) as pool:
        with scene.database.begin() as tx:
            jobs.lock(tx, second)
            (step,) = steps.of_job(tx, second)
            bound = steps.bind(tx, step, key="k", inputs={}, key_parts={}, queue="cpu", alone=False, priority=5)
            assert bound.state == "leased"
            committed = pool.submit(scene.commit, attempt)
            with pytest.raises(TimeoutError):
                committed.result(0.3)  # it waits for this transaction
        advance = committed.result(30)
    assert advance is not None
    assert second in advance
    assert scene.states(second) == {"capture": "done"}


def test_when_all_jobs_cancel_at_once_the_computation_stops(scene: Scene) -> None:
    job_ids = [scene.ready() for _ in range(THREADS)]
    attempt = scene.won().attempt
    at_once([partial(scene.cancel, job_id) for job_id in job_ids])
    assert scene.heartbeat(attempt) == "cancel"
    scene.release(attempt)
    assert {scene.job(job_id).state for job_id in job_ids} == {"canceled"}


def test_a_storm_of_everything_leaves_every_row_consistent(scene: Scene) -> None:
    """Workers, jobs that come, jobs that are canceled, a reaper: no deadlock, no lost job, no gap in the events."""
    keys = ["a", "b", "c"]
    made: list[str] = []

    def submit(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(4):
            job_id = scene.running(*chain(*keys))
            made.append(job_id)
            for key in order.sample(keys, 3):  # each in a transaction of its own
                scene.bind(job_id, key, key)
            if order.random() < 0.5:
                scene.cancel(job_id)
            elif order.random() < 0.3:
                scene.fail_job(job_id)

    def work(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(25):
            key = order.choice(keys)
            claim = scene.claim(key, worker=f"w{seed}")
            if claim is None:
                continue
            told = scene.heartbeat(claim.attempt, key, progress=order.random(), doing="x", log=["line"])
            if told == "cancel" or order.random() < 0.5:
                scene.release(claim.attempt, key)
            elif order.random() < 0.5:
                scene.fail(claim.attempt, key, retry_in=0.0)
            else:
                scene.commit(claim.attempt, key)

    def reap() -> None:
        for _ in range(10):
            scene.reap()

    calls: list[Callable[[], None]] = [reap]
    calls += [partial(submit, seed) for seed in range(3)]
    calls += [partial(work, seed) for seed in range(10, 13)]
    at_once(calls)
    for job_id in made:
        _assert_consistent(scene, job_id)


def _assert_consistent(scene: Scene, job_id: str) -> None:
    job, found = scene.job(job_id), scene.steps(job_id)
    assert [event.id for event in scene.events(job_id)] == list(range(1, job.revision + 1))
    if job.state == "canceling":
        assert any(step.state == "leased" for step in found.values())
    if job.state in ("failed", "canceled"):
        assert not any(step.state in ("waiting", "ready", "leased") for step in found.values())
    for step in found.values():
        if step.state in ("ready", "leased"):
            assert step.key is not None
            assert scene.computation(step.key).state == step.state


def test_two_bindings_of_one_step_make_one(scene: Scene) -> None:
    job_id = scene.running()

    def bind() -> bool:
        try:
            scene.bind(job_id, "capture", "k")
        except Conflict:
            return False
        return True

    assert sum(at_once([bind] * 4)) == 1
    with scene.database.read() as tx:
        assert computations.get(tx, "k") is not None
