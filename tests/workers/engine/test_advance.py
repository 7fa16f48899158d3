"""How a job moves from step to step, and ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import update

from burnish.errors import NotFound
from storage.database import Database
from storage.tables import jobs
from tests.workers.engine.scene import Scene
from workers import advance as module
from workers.keys import KeyMaker


@pytest.fixture
def scene(database: Database, keys: KeyMaker) -> Scene:
    return Scene(database, keys)


def _states(scene: Scene, job_id: str) -> dict[str, str]:
    return {name: step.state for name, step in scene.steps(job_id).items()}


def test_a_new_job_is_planned_and_its_first_step_is_ready(scene: Scene) -> None:
    job_id = scene.submit()
    scene.take_up(job_id)
    assert scene.job(job_id).state == "running"
    states = _states(scene, job_id)
    assert states.pop("capture") == "ready"
    assert set(states.values()) == {"waiting"}


def test_a_second_doorbell_changes_nothing(scene: Scene) -> None:
    job_id = scene.submit()
    scene.take_up(job_id)
    before = scene.job(job_id)
    scene.take_up(job_id)
    assert scene.job(job_id) == before


def test_a_doorbell_for_no_job_says_so(scene: Scene) -> None:
    with pytest.raises(NotFound):
        scene.take_up("job_nothing")


def test_a_commit_makes_ready_what_it_was_waited_for(scene: Scene) -> None:
    job_id = scene.submit()
    scene.take_up(job_id)
    scene.finish(job_id, "capture")
    assert _states(scene, job_id)["split"] == "ready"
    scene.finish(job_id, "split")
    ready = {name for name, state in _states(scene, job_id).items() if state == "ready"}
    assert ready == {"profile", "preflight", "as-is/lower@inductor", "quantize"}


def test_the_last_step_ends_the_job_with_its_verdict(scene: Scene) -> None:
    job_id = scene.submit()
    scene.take_up(job_id)
    scene.run(job_id)
    job = scene.job(job_id)
    assert job.state == "succeeded"
    assert job.verdict is not None
    names = [each["name"] for each in job.verdict["candidates"]]
    assert names == ["eager", "compiled", "quantize@inductor", "as-is@inductor"]
    assert job.verdict["candidates"][3]["artifact"]["name"] == "model.bin"


def test_an_identical_job_ends_in_the_transaction_that_takes_it_up(scene: Scene) -> None:
    first = scene.submit()
    scene.take_up(first)
    scene.run(first)
    second = scene.submit()
    scene.take_up(second)
    assert scene.job(second).state == "succeeded"
    assert all(step.hit for step in scene.steps(second).values())
    assert scene.job(second).verdict == scene.job(first).verdict


def test_one_commit_advances_every_job_that_waits_for_it(scene: Scene) -> None:
    one, two = scene.submit(), scene.submit()
    scene.take_up(one)
    scene.take_up(two)
    scene.finish(one, "capture")
    assert _states(scene, one)["split"] == _states(scene, two)["split"] == "ready"
    assert scene.steps(one)["split"].key == scene.steps(two)["split"].key


def test_a_refusal_leaves_out_what_depends_on_it_and_nothing_else(scene: Scene) -> None:
    job_id = scene.submit()
    scene.take_up(job_id)
    scene.finish(job_id, "capture", "split")
    scene.finish(job_id, "as-is/lower@inductor", refused="It has an LSTM.")
    step = scene.steps(job_id)["as-is/verify@inductor"]
    assert (step.state, (step.why or {})["skipped"]) == ("canceled", "It has an LSTM.")
    scene.run(job_id)
    job = scene.job(job_id)
    assert job.state == "succeeded"
    assert job.verdict is not None
    refused = {each["name"]: each["refused"] for each in job.verdict["candidates"]}
    assert refused["as-is@inductor"] == "It has an LSTM."
    assert refused["quantize@inductor"] is None
    contenders = scene.steps(job_id)["measure"].spec["settings"]["contenders"]
    assert [each["name"] for each in contenders] == ["quantize@inductor"]


def test_the_failure_of_a_step_that_was_asked_for_fails_the_job_and_names_it(scene: Scene) -> None:
    job_id = scene.submit()
    scene.take_up(job_id)
    scene.finish(job_id, "capture", "split")
    scene.fail(job_id, "quantize")
    job = scene.job(job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error["step"], job.error["cure"]) == ("quantize", "Leave it out.")
    assert _states(scene, job_id)["as-is/lower@inductor"] == "canceled"


def test_the_failure_of_a_variant_that_was_only_tried_is_a_refusal(scene: Scene) -> None:
    job_id = scene.submit({"target": {"backend": "inductor"}})
    scene.take_up(job_id)
    scene.finish(job_id, "capture", "split", "profile")
    scene.fail(job_id, "int8/quantize")
    scene.run(job_id)
    job = scene.job(job_id)
    assert job.state == "succeeded"
    assert job.verdict is not None
    refused = {each["name"]: each["refused"] for each in job.verdict["candidates"] if each["refused"]}
    assert list(refused) == ["int8@inductor"]
    assert "It can't be treated." in refused["int8@inductor"]


def test_a_job_whose_advance_breaks_fails_and_does_not_stop_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = scene.submit(), scene.submit()
    scene.take_up(one)
    scene.take_up(two)
    real = module.advance

    def advance(tx: object, job_id: str, keys: object) -> None:
        if job_id == one:
            raise ZeroDivisionError("a bug")
        real(tx, job_id, keys)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "advance", advance)
    scene.finish(two, "capture")
    failed = scene.job(one)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error["message"] == "The job could not be taken further, by ZeroDivisionError: a bug"
    assert failed.error["code"] == "internal"
    assert failed.error["where"].startswith("test_advance.py:")
    assert "Retry the job" in failed.error["cure"]
    assert _states(scene, two)["split"] == "ready"


@pytest.mark.parametrize("planned", [False, True])
def test_a_job_of_another_version_fails_with_what_can_not_be_read_and_the_others_go_on(
    scene: Scene, planned: bool
) -> None:
    odd, sound = scene.submit(), scene.submit()
    if planned:
        scene.take_up(odd)
        scene.take_up(sound)
    with scene.database.begin() as tx:
        spec = scene.job(odd).spec
        spec["recipe"]["target"]["overclock"] = 3
        tx.execute(update(jobs).where(jobs.c.id == odd).values(spec=spec))
    scene.take_up(odd)
    if not planned:
        scene.take_up(sound)
    scene.run(sound)
    failed = scene.job(odd)
    assert failed.state == "failed"
    assert failed.error is not None
    assert "/recipe/target/overclock: There is no setting 'overclock' here." in failed.error["message"]
    assert "Retry the job once every worker" in failed.error["cure"]
    assert scene.job(sound).state == "succeeded"


def test_planning_and_advancing_need_no_torch() -> None:
    code = "import sys, workers.worker, workers.tick, workers.advance; assert 'torch' not in sys.modules"
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=120)
