"""What a free slot takes next, without waiting for anybody."""

from __future__ import annotations

import pytest

from storage import jobs, steps
from storage.succession import Found, Taken, Taker, take, take_next
from tests.storage.scene import Clock, Scene
from tests.storage.test_concurrency import THREADS, at_once

WITH_ROW_LOCKS = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
"""SQLite has one writer at a time, for whom nobody holds a row."""
HERE = Taker("w1", ("cpu",), 30.0, lambda claim: True)


def _next(scene: Scene, taker: Taker = HERE) -> Found:
    with scene.database.begin() as tx:
        return take_next(tx, taker)


def _key(found: Found) -> str | None:
    return found.taken.claim.key if found.taken else None


def test_the_first_by_turn_is_taken_and_leased(scene: Scene) -> None:
    scene.ready("later", priority=6)
    job_id = scene.ready("first", priority=4)
    taken = _next(scene).taken
    assert taken is not None
    assert (taken.claim.key, taken.claim.attempt) == ("first", 1)
    assert [(each.job_id, each.step) for each in taken.waiting] == [(job_id, "capture")]
    found = scene.computation("first")
    assert (found.state, found.worker, found.lease_until) == ("leased", "w1", scene.clock.now + 30)
    assert scene.states(job_id) == {"capture": "leased"}
    assert scene.kinds(job_id)[-1] == "step.leased"


def test_age_counts_as_it_does_for_doorbells(scene: Scene, clock: Clock) -> None:
    scene.ready("old", priority=6)
    clock.pass_(601)
    scene.ready("new", priority=5)
    assert _key(_next(scene)) == "old"


def test_what_is_not_yet_due_is_left(scene: Scene) -> None:
    _, attempt = scene.leased()
    scene.fail(attempt, retry_in=10.0)
    assert _next(scene) == (None, None)
    scene.clock.pass_(11)
    assert _key(_next(scene)) == "k"


def test_other_queues_are_left_to_others(scene: Scene) -> None:
    scene.ready("k")
    assert _next(scene, HERE._replace(queues=("cuda",))) == (None, None)
    assert _key(_next(scene, HERE._replace(queues=("cuda", "cpu")))) == "k"


def test_what_the_worker_would_compute_otherwise_is_named_and_left(scene: Scene) -> None:
    scene.ready()
    assert _next(scene, HERE._replace(fits=lambda claim: False)) == (None, "k")
    assert scene.computation().state == "ready"


def test_all_jobs_that_wait_are_told(scene: Scene) -> None:
    waiting = sorted([scene.ready(), scene.ready()])
    taken = _next(scene).taken
    assert taken is not None
    assert [each.job_id for each in taken.waiting] == waiting
    assert [scene.states(job_id)["capture"] for job_id in waiting] == ["leased", "leased"]


def test_one_step_can_be_asked_for(scene: Scene) -> None:
    scene.ready("a")
    scene.ready("b")
    with scene.database.begin() as tx:
        assert _key(take(tx, "b", HERE)) == "b"
        assert take(tx, "b", HERE) == (None, None)


def test_a_step_is_taken_once(scene: Scene) -> None:
    scene.ready()
    assert isinstance(_next(scene).taken, Taken)
    assert _next(scene) == (None, None)


@WITH_ROW_LOCKS
def test_a_job_that_somebody_holds_is_not_waited_for(scene: Scene) -> None:
    job_id = scene.ready()
    with scene.database.begin() as tx:
        jobs.lock(tx, job_id)
        assert _next(scene) == (None, "k")
    assert _key(_next(scene)) == "k"


@WITH_ROW_LOCKS
def test_a_step_that_is_just_being_bound_is_not_waited_for(scene: Scene) -> None:
    scene.ready()
    second = scene.running()
    with scene.database.begin() as tx:
        jobs.lock(tx, second)
        (step,) = steps.of_job(tx, second)
        steps.bind(tx, step, key="k", inputs={}, key_parts={}, queue="cpu", alone=False, priority=5)
        assert _next(scene) == (None, None)
    assert _key(_next(scene)) == "k"
    assert scene.states(second) == {"capture": "leased"}


def test_of_many_that_look_at_once_each_step_goes_to_one(scene: Scene) -> None:
    for key in ("a", "b", "c"):
        scene.ready(key)
    found = [_key(each) for each in at_once([lambda: _next(scene)] * THREADS)]
    won = [key for key in found if key is not None]
    assert len(won) == len(set(won))
    assert all(scene.computation(key).attempt == 1 for key in won)
