"""A store or SQL that is away while a step runs."""

from __future__ import annotations

import pytest

from burnish.errors import DiskFull, Unavailable
from storage import computations, succession
from storage.blobs import BlobStore
from tests.workers.engine.scene import Scene
from tests.workers.runner.runs import AwayAtFirst, run_one, submit
from workers.advance import take_up
from workers.runner import Runner

AWAY = Unavailable("It is away.", cure="Wait.")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is away is asked again at once."""
    monkeypatch.setattr("workers.retrying.backoff", lambda *_: 0.0)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("call", ["fetch", "put_file"])
def test_a_store_that_is_away_for_longer_than_three_attempts_costs_none(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    monkeypatch.setattr(blobs, call, AwayAtFirst(getattr(blobs, call), AWAY, 5))
    runner.execute(str(scene.steps(job_id)["capture"].key))
    assert scene.job(job_id).state == "succeeded"
    assert {step.attempt for step in scene.steps(job_id).values()} == {1}


@pytest.mark.usefixtures("soon")
def test_a_store_that_stays_away_costs_an_attempt_in_the_end(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    monkeypatch.setattr(blobs, "fetch", AwayAtFirst(blobs.fetch, AWAY, 10**6))
    monkeypatch.setattr("workers.retrying.PATIENCE", 0.1)
    key = str(scene.steps(job_id)["capture"].key)
    runner.execute(key)
    (reason,) = scene.computation(key).reasons
    assert reason["error"]["code"] == "resource.unavailable"


@pytest.mark.usefixtures("soon")
def test_a_doorbell_is_not_lost_when_sql_is_away_as_it_comes(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(scene, blobs)
    monkeypatch.setattr("workers.runner.take_up", AwayAtFirst(take_up, AWAY, 4))
    runner.plan(job_id)
    monkeypatch.setattr(succession, "take", AwayAtFirst(succession.take, AWAY, 4))
    runner.execute(str(scene.steps(job_id)["capture"].key))
    assert scene.job(job_id).state == "succeeded"


def test_who_drains_waits_for_no_sql(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.drain(0.0)
    monkeypatch.setattr("workers.runner.jobs.get", AwayAtFirst(computations.get, AWAY, 10**6))
    with pytest.raises(Unavailable):
        runner.plan("job_1")


@pytest.mark.parametrize("error", [AWAY, DiskFull("SQL's disk is full.", cure="Free some.")])
def test_an_end_is_written_as_soon_as_sql_takes_it(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    job_id = submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    monkeypatch.setattr(computations, "commit", AwayAtFirst(computations.commit, error, 2))
    run_one(runner, key)
    assert (scene.computation(key).state, scene.computation(key).attempt) == ("done", 1)
