"""Steps that a worker of another version of Burnish or of its libraries planned."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from storage import ready, tables
from storage.blobs import BlobStore
from tests.storage.scene import Clock
from tests.workers.engine.scene import Scene
from tests.workers.engine.test_dispatch import Recorder
from tests.workers.runner.runs import submit
from workers.dispatch import REDISPATCH
from workers.environment import Environment
from workers.runner import Runner


def test_a_step_of_another_code_version_is_left_alone(runner: Runner, scene: Scene, blobs: BlobStore) -> None:
    job_id = submit(scene, blobs)
    other = _other(scene)
    other.take_up(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    runner.execute(key)
    assert scene.computation(key).state == "ready"
    assert scene.steps(job_id)["capture"].key == key


def test_a_step_that_no_worker_of_its_version_took_for_long_is_bound_anew(
    runner: Runner, scene: Scene, blobs: BlobStore, clock: Clock, bell: Recorder
) -> None:
    job_id = submit(scene, blobs)
    _other(scene).take_up(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    clock.pass_(121)
    runner.execute(key)
    assert scene.steps(job_id)["capture"].key != key
    assert scene.computation(key).state == "canceled"
    assert scene.job(job_id).state == "succeeded"


def test_a_step_of_another_version_that_comes_next_does_not_cost_the_one_before(
    runner: Runner, scene: Scene, blobs: BlobStore
) -> None:
    first, second = submit(scene, blobs), submit(scene, blobs, {"n": 2})
    for job_id in (first, second):
        runner.plan(job_id)
    strange = str(scene.steps(second)["capture"].key)
    with scene.database.begin() as tx:
        tx.execute(update(tables.computations).where(tables.computations.c.key == strange).values(op="new", turn=0.0))
    key = str(scene.steps(first)["capture"].key)
    runner.execute(key)
    assert (scene.computation(key).state, scene.computation(strange).state) == ("done", "ready")


@pytest.mark.parametrize("changes", [{"op": "new"}, {"spec": {}}, {"spec": []}], ids=str)
def test_a_step_that_no_worker_can_read_ends_its_job_after_a_while(
    runner: Runner, scene: Scene, blobs: BlobStore, clock: Clock, changes: dict[str, Any]
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    with scene.database.begin() as tx:
        tx.execute(update(tables.computations).where(tables.computations.c.key == key).values(**changes))
        tx.execute(update(tables.steps).where(tables.steps.c.key == key).values(op="new"))
    runner.execute(key)
    assert scene.job(job_id).state == "running"
    clock.pass_(121)
    runner.execute(key)
    job = scene.job(job_id)
    assert job.state == "failed"
    assert (job.error or {})["message"] == "This worker has no step 'new'."


def test_the_doorbell_of_a_step_for_others_is_rung_again_when_it_has_waited_twice_as_long(
    runner: Runner, scene: Scene, blobs: BlobStore, clock: Clock
) -> None:
    job_id = submit(scene, blobs)
    _other(scene).take_up(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    rung: list[float] = []
    for _ in range(1000):
        with scene.database.begin() as tx:
            due = ready.due(tx, 10, tx.now - REDISPATCH)
        if due:
            rung.append(clock.now - scene.computation(key).run_after)
            runner.execute(key)
        clock.pass_(0.1)
    gaps = [after - before for before, after in itertools.pairwise(rung)]
    assert len(rung) < 15
    assert all(gap < 2 * max(waited, 0.2) for gap, waited in zip(gaps, rung, strict=False))
    assert rung[-1] > 45


def _other(scene: Scene) -> Scene:
    """The same service, planned by a worker with another version of Python."""
    here: Environment = scene.keys.environment
    there = replace(here, versions={**here.versions, "python": "2.7"})
    return Scene(scene.database, replace(scene.keys, environment=there))
