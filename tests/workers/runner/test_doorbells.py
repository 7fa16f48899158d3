"""From a doorbell to a commit: what a worker does of what it hears, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event

from storage import computations, succession
from storage.blobs import BlobStore
from tests.workers.engine.scene import Scene
from tests.workers.engine.test_dispatch import Recorder
from tests.workers.runner.runs import submit
from workers.runner import Runner


def test_one_doorbell_takes_a_job_through_all_its_steps(
    runner: Runner, scene: Scene, blobs: BlobStore, bell: Recorder
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    (rung,) = bell.heard
    runner.execute(rung.split()[1])
    assert scene.job(job_id).state == "succeeded"
    for step in scene.steps(job_id).values():
        for digest in (step.outputs or {}).values():
            assert blobs.size(digest) is not None


def test_a_doorbell_for_no_job_or_no_step_is_nothing(runner: Runner) -> None:
    runner.plan("job_nothing")
    runner.execute("0" * 64)


def test_a_slot_whose_doorbell_came_too_late_takes_what_is_ready_instead(
    runner: Runner, scene: Scene, blobs: BlobStore, bell: Recorder
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    runner.execute("0" * 64)  # of a step that another slot has taken
    assert scene.job(job_id).state == "succeeded"


def test_a_stale_doorbell_for_a_done_step_is_dropped(runner: Runner, scene: Scene, blobs: BlobStore) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    runner.execute(key)
    runner.execute(key)
    with scene.database.read() as tx:
        found = computations.get(tx, key)
    assert found is not None
    assert found.attempt == 1


def test_a_draining_worker_takes_nothing_new(runner: Runner, scene: Scene, blobs: BlobStore) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    runner.drain(0.0)
    key = str(scene.steps(job_id)["capture"].key)
    runner.execute(key)
    assert scene.computation(key).attempt == 0


def test_a_step_claimed_at_the_last_moment_is_given_back(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    take = succession.take

    def and_stop(*arguments: Any, **options: Any) -> Any:
        found = take(*arguments, **options)
        runner.drain(0.0)
        return found

    monkeypatch.setattr(succession, "take", and_stop)
    runner.execute(key)
    found = scene.computation(key)
    assert (found.state, found.attempt, found.failures) == ("ready", 1, 0)


def test_a_step_costs_few_statements(runner: Runner, scene: Scene, blobs: BlobStore) -> None:
    """A bound that holds what was won: from the plan to the verdict, begins of transactions and pragmas not counted."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        job_id = submit(scene, blobs)
        runner.plan(job_id)
        key = str(scene.steps(job_id)["capture"].key)
        statements.clear()
        runner.execute(key)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    own = [statement for statement in statements if not statement.startswith(("PRAGMA", "BEGIN"))]
    done = sum(step.state == "done" for step in scene.steps(job_id).values())
    assert scene.job(job_id).state == "succeeded"
    assert len(own) / done < 26
