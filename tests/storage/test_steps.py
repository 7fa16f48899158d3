"""Steps: when they can be bound, what binding tells, and what can't be done twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from burnish.errors import Conflict, InternalError
from storage import jobs, steps
from storage.records import Step
from storage.tables import steps as table
from tests.storage.scene import Clock, Scene, chain


def skip(scene: Scene, step: Step, reason: str = "nothing to verify") -> None:
    with scene.database.begin() as tx:
        steps.skip(tx, step, reason)


def test_steps_come_in_the_planners_order(scene: Scene) -> None:
    job_id = scene.running(*chain("zeta", "alpha", "mid"))
    assert list(scene.steps(job_id)) == ["zeta", "alpha", "mid"]


def test_a_skipped_step_says_why(scene: Scene) -> None:
    job_id = scene.running(*chain("lower", "verify"))
    skip(scene, scene.steps(job_id)["lower"])
    assert scene.steps(job_id)["lower"].why == {"hit": False, "skipped": "nothing to verify"}
    assert scene.kinds(job_id)[-1] == "step.canceled"


def test_only_a_waiting_step_can_be_skipped(scene: Scene) -> None:
    job_id = scene.ready()
    with pytest.raises(Conflict, match="not waiting any more"):
        skip(scene, scene.steps(job_id)["capture"])


def test_a_step_can_be_bound_once(scene: Scene) -> None:
    job_id = scene.running()
    scene.bind(job_id, "capture", "k")
    with pytest.raises(Conflict, match="not waiting any more"):
        scene.bind(job_id, "capture", "other")
    assert scene.steps(job_id)["capture"].key == "k"


def test_the_steps_of_an_ended_job_can_not_be_bound(scene: Scene) -> None:
    job_id = scene.running()
    scene.cancel(job_id)
    with pytest.raises(Conflict, match="not waiting any more"):
        scene.bind(job_id, "capture", "k")


def test_a_refused_binding_leaves_no_computation(scene: Scene) -> None:
    job_id = scene.running()
    scene.cancel(job_id)
    with pytest.raises(Conflict):
        scene.bind(job_id, "capture", "k")
    assert scene.due() == []


def test_a_binding_may_narrow_what_is_run(scene: Scene) -> None:
    job_id = scene.running()
    with scene.database.begin() as tx:
        jobs.lock(tx, job_id)
        (step,) = steps.of_job(tx, job_id)
        steps.bind(
            tx, replace(step, spec={"contenders": ["a"]}), key="k", inputs={}, key_parts={}, queue="cpu",
            alone=True, priority=5,
        )  # fmt: skip
    claim = scene.won()
    assert (claim.spec, claim.alone) == ({"contenders": ["a"]}, True)
    assert scene.steps(job_id)["capture"].spec == {"contenders": ["a"]}


def test_a_step_shows_its_computation(scene: Scene, clock: Clock) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, progress=0.25, doing="tracing")
    step = scene.steps(job_id)["capture"]
    assert (step.progress, step.doing, step.worker, step.attempt) == (0.25, "tracing", "w1", 1)
    assert (step.started_at, step.inputs) == (clock.now, {"in": "0" * 64})


def test_steps_can_be_taken_off_a_key_that_no_worker_computes(scene: Scene) -> None:
    job_ids = sorted([scene.ready("old"), scene.ready("old")])
    before = scene.job(job_ids[0]).revision
    with scene.database.begin() as tx:
        assert steps.unbind(tx, "old") == job_ids
    assert scene.computation("old").state == "canceled"
    for job_id in job_ids:
        step = scene.steps(job_id)["capture"]
        assert (step.state, step.key, step.why) == ("waiting", None, None)
    assert scene.job(job_ids[0]).revision > before
    assert scene.bind(job_ids[0], "capture", "new").state == "ready"


def test_steps_stay_on_a_key_that_is_leased_or_unknown(scene: Scene) -> None:
    job_id, _ = scene.leased()
    with scene.database.begin() as tx:
        assert steps.unbind(tx, "k") == []
        assert steps.unbind(tx, "nothing") == []
    assert scene.states(job_id) == {"capture": "leased"}


def test_a_first_key_has_nothing_to_differ_from(scene: Scene) -> None:
    why = scene.bind(scene.running(), "capture", "k", parts={"seed": 0}).why
    assert why == {"hit": False, "known": None, "nearest": None, "differs": []}


def test_a_miss_names_the_parts_that_differ_from_the_nearest_key(scene: Scene, clock: Clock) -> None:
    for key, parts in (
        ("near", {"seed": 0, "torch": "2.13", "settings": {"ratio": 0.5}}),
        ("far", {"seed": 1, "torch": "2.12", "settings": {"ratio": 0.5}}),
    ):
        scene.bind(scene.running(), "capture", key, parts=parts)
        clock.pass_(1)
    parts = {"seed": 0, "torch": "2.13", "settings": {"ratio": 0.7}, "isa": "avx2"}
    why = scene.bind(scene.running(), "capture", "new", parts=parts).why
    assert why == {"hit": False, "known": None, "nearest": "near", "differs": ["isa", "settings"]}


def test_a_miss_is_compared_with_the_same_operation_only(scene: Scene) -> None:
    scene.bind(scene.running(*chain("prune")), "prune", "other", parts={"seed": 0})
    why = scene.bind(scene.running(), "capture", "k", parts={"seed": 0}).why
    assert why is not None
    assert why["nearest"] is None


def test_a_hit_says_so(scene: Scene) -> None:
    _, attempt = scene.leased()
    scene.commit(attempt)
    why = scene.steps(scene.ready())["capture"].why
    assert why == {"hit": True, "known": "done", "nearest": "k", "differs": []}


def test_a_shared_key_is_told_from_a_hit(scene: Scene) -> None:
    scene.leased()
    why = scene.steps(scene.ready())["capture"].why
    assert why is not None
    assert (why["hit"], why["known"]) == (False, "leased")


@pytest.mark.parametrize(
    "values", [{"state": "odd"}, {"state": "ready"}, {"state": "failed"}, {"hit": True}, {"key": "unknown"}]
)
def test_the_database_refuses_a_step_that_no_state_allows(scene: Scene, values: dict[str, object]) -> None:
    scene.running()
    with pytest.raises(InternalError, match="refused a statement"), scene.database.begin() as tx:
        tx.execute(table.update().values(**values))
