"""Steps that fail: what is tried again, and what is kept of the failure."""

from __future__ import annotations

import pytest

from burnish.errors import InternalError
from storage import computations
from storage.blobs import BlobStore
from tests.storage.scene import Clock
from tests.workers.engine.scene import Scene
from tests.workers.runner.runs import AwayAtFirst, run_one, submit
from workers.runner import Runner


def test_an_internal_error_is_tried_again_later_and_later(
    runner: Runner, scene: Scene, blobs: BlobStore, clock: Clock
) -> None:
    job_id = submit(scene, blobs, {"capture": {"raise": "internal"}})
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    pauses = []
    for _ in range(2):
        runner.execute(key)
        pauses.append(scene.computation(key).run_after - clock.now)
        runner.execute(key)  # too early: nothing happens
        clock.pass_(pauses[-1])
    assert 0.4 < pauses[0] < 1.6 < pauses[1] < 6.1
    runner.execute(key)
    assert scene.computation(key).state == "failed"
    assert len(scene.computation(key).reasons) == 3
    assert scene.job(job_id).state == "failed"


def test_a_failure_keeps_the_tail_of_the_log_and_the_memory_used(
    runner: Runner, scene: Scene, blobs: BlobStore
) -> None:
    job_id = submit(scene, blobs, {"capture": {"raise": "user"}})
    runner.plan(job_id)
    runner.execute(str(scene.steps(job_id)["capture"].key))
    details = (scene.job(job_id).error or {})["details"]
    assert "The script says so" in details["log_tail"]
    assert details["peak_memory"] > 1_000_000


def test_an_end_that_sql_refuses_is_a_failure_that_tells_why(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    refused = InternalError("The database refused a statement.", cure="Report it.")
    monkeypatch.setattr(computations, "commit", AwayAtFirst(computations.commit, refused, 1))
    run_one(runner, key)
    found = scene.computation(key)
    assert (found.state, found.failures) == ("ready", 1)
    assert "refused a statement" in found.reasons[0]["error"]["message"]
