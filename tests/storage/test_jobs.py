"""Each transition of a job, and each that must not happen."""

from __future__ import annotations

import pytest

from burnish.errors import Conflict, InternalError, NotFound
from storage import jobs
from storage.tables import jobs as table
from tests.storage.scene import Clock, Scene, chain


def test_an_accepted_job_is_queued(scene: Scene, clock: Clock) -> None:
    job = scene.job(scene.queued(priority=3))
    assert (job.state, job.model, job.dataset, job.priority) == ("queued", "lenet:1", "digits", 3)
    assert (job.model_digest, job.dataset_digest, job.created_at) == ("a" * 64, "b" * 64, clock.now)
    assert (job.verdict, job.error, job.started_at, job.finished_at) == (None, None, None, None)
    assert scene.kinds(job.id) == ["job.queued"]


def test_planning_makes_it_run_with_its_steps_waiting(scene: Scene, clock: Clock) -> None:
    job_id = scene.running(*chain("capture", "prune", "lower"))
    assert (scene.job(job_id).state, scene.job(job_id).started_at) == ("running", clock.now)
    assert scene.states(job_id) == {"capture": "waiting", "prune": "waiting", "lower": "waiting"}
    assert scene.kinds(job_id) == ["job.queued", "job.planned"]


def test_a_duplicate_doorbell_plans_nothing(scene: Scene) -> None:
    job_id = scene.running(*chain("capture"))
    with scene.database.begin() as tx:
        assert not jobs.plan(tx, job_id, chain("other"))
    assert scene.states(job_id) == {"capture": "waiting"}


def test_a_canceled_job_is_not_planned(scene: Scene) -> None:
    job_id = scene.queued()
    scene.cancel(job_id)
    with scene.database.begin() as tx:
        assert not jobs.plan(tx, job_id, chain("capture"))
    assert scene.job(job_id).state == "canceled"


def test_a_running_job_succeeds_with_its_verdict(scene: Scene, clock: Clock) -> None:
    job_id = scene.running()
    clock.pass_(9)
    assert scene.succeed_job(job_id)
    job = scene.job(job_id)
    assert (job.state, job.verdict, job.finished_at) == ("succeeded", {"outcome": "improved"}, clock.now)


def test_a_job_ends_once(scene: Scene) -> None:
    job_id = scene.running()
    assert scene.succeed_job(job_id)
    assert not scene.succeed_job(job_id)
    assert not scene.fail_job(job_id)
    assert scene.kinds(job_id).count("job.succeeded") == 1


def test_a_queued_job_can_not_succeed(scene: Scene) -> None:
    job_id = scene.queued()
    assert not scene.succeed_job(job_id)
    assert scene.job(job_id).state == "queued"


def test_a_queued_job_can_fail_because_it_could_not_be_planned(scene: Scene) -> None:
    job_id = scene.queued()
    assert scene.fail_job(job_id)
    job = scene.job(job_id)
    assert (job.state, job.error) == ("failed", InternalError("It broke.", cure="Mend it.").document())


def test_a_failing_job_cancels_its_other_steps_and_stops_their_work(scene: Scene) -> None:
    job_id = scene.running(*chain("capture", "prune", "lower"))
    scene.bind(job_id, "capture", "a")
    scene.bind(job_id, "prune", "b")
    attempt = scene.won("b").attempt
    assert scene.fail_job(job_id)
    assert set(scene.states(job_id).values()) == {"canceled"}
    assert scene.computation("a").state == "canceled"
    assert scene.heartbeat(attempt, "b") == "cancel"
    assert scene.release(attempt, "b")
    assert scene.computation("b").state == "canceled"
    assert scene.job(job_id).state == "failed"


def test_a_queued_job_is_canceled_at_once(scene: Scene, clock: Clock) -> None:
    job_id = scene.queued()
    assert scene.cancel(job_id).state == "canceled"
    assert scene.job(job_id).finished_at == clock.now
    assert scene.kinds(job_id) == ["job.queued", "job.canceled"]


def test_a_running_job_with_nothing_leased_is_canceled_at_once(scene: Scene) -> None:
    job_id = scene.running(*chain("capture", "prune"))
    scene.bind(job_id, "capture", "k")
    assert scene.cancel(job_id).state == "canceled"
    assert scene.states(job_id) == {"capture": "canceled", "prune": "canceled"}
    assert scene.computation().state == "canceled"


def test_a_job_with_a_leased_step_is_canceling_until_the_worker_stopped_it(scene: Scene) -> None:
    job_id = scene.running(*chain("capture", "prune"))
    scene.bind(job_id, "capture", "k")
    attempt = scene.won().attempt
    assert scene.cancel(job_id).state == "canceling"
    assert scene.states(job_id) == {"capture": "leased", "prune": "canceled"}
    assert scene.heartbeat(attempt) == "cancel"
    assert scene.release(attempt)
    assert scene.job(job_id).state == "canceled"
    assert scene.states(job_id) == {"capture": "canceled", "prune": "canceled"}
    assert scene.kinds(job_id)[-2:] == ["step.canceled", "job.canceled"]


def test_a_step_that_ends_before_it_was_stopped_ends_the_canceling_job_too(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.cancel(job_id)
    assert scene.commit(attempt) == []
    assert scene.computation().state == "done"
    assert scene.job(job_id).state == "canceled"


@pytest.mark.parametrize("end", ["fail", "release", "reap"])
def test_a_canceling_job_ends_however_its_lease_ends(scene: Scene, clock: Clock, end: str) -> None:
    job_id, attempt = scene.leased()
    scene.cancel(job_id)
    if end == "fail":
        assert scene.fail(attempt, retry_in=1.0) == []
    elif end == "release":
        assert scene.release(attempt)
    else:
        clock.pass_(scene.ttl + 1)
        assert scene.reap() == []
    assert scene.job(job_id).state == "canceled"
    assert scene.states(job_id) == {"capture": "canceled"}
    assert scene.computation().state == "canceled"


def test_a_lease_to_be_canceled_can_not_be_taken_over(scene: Scene, clock: Clock) -> None:
    job_id, _ = scene.leased()
    scene.cancel(job_id)
    clock.pass_(scene.ttl + 1)
    assert scene.claim(worker="w2") is None


def test_a_canceling_job_can_neither_succeed_nor_fail(scene: Scene) -> None:
    job_id, _ = scene.leased()
    scene.cancel(job_id)
    assert not scene.succeed_job(job_id)
    assert not scene.fail_job(job_id)
    assert scene.job(job_id).state == "canceling"


def test_cancel_again_changes_nothing(scene: Scene) -> None:
    leased, _ = scene.leased()
    queued = scene.queued()
    for job_id in (leased, queued):
        once = scene.cancel(job_id)
        assert scene.cancel(job_id) == once


def test_an_ended_job_can_not_be_canceled(scene: Scene) -> None:
    succeeded, failed = scene.running(), scene.running()
    scene.succeed_job(succeeded)
    scene.fail_job(failed)
    for job_id, state in ((succeeded, "succeeded"), (failed, "failed")):
        with pytest.raises(Conflict, match=f"has {state} already"):
            scene.cancel(job_id)


def test_a_retried_job_is_queued_anew_without_steps(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.fail(attempt)
    scene.fail_job(job_id)
    job = scene.retry(job_id)
    assert (job.state, job.error, job.started_at, job.finished_at) == ("queued", None, None, None)
    assert scene.steps(job_id) == {}
    assert scene.kinds(job_id)[-1] == "job.queued"


def test_a_retry_re_arms_the_failed_computation_with_all_its_attempts(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.fail(attempt)
    scene.fail_job(job_id)
    scene.retry(job_id)
    with scene.database.begin() as tx:
        jobs.plan(tx, job_id, chain("capture"))
    scene.bind(job_id, "capture", "k")
    found = scene.computation()
    assert (found.state, found.failures, found.reasons, found.error) == ("ready", 0, [], None)
    assert scene.won().attempt == attempt + 1


def test_a_retry_reads_what_was_done_from_the_cache(scene: Scene) -> None:
    job_id = scene.running(*chain("capture", "prune"))
    scene.bind(job_id, "capture", "a")
    scene.commit(scene.won("a").attempt, "a")
    scene.fail_job(job_id)
    scene.retry(job_id)
    with scene.database.begin() as tx:
        jobs.plan(tx, job_id, chain("capture", "prune"))
    assert scene.bind(job_id, "capture", "a").hit


def test_a_canceled_job_can_be_retried(scene: Scene) -> None:
    job_id = scene.queued()
    scene.cancel(job_id)
    assert scene.retry(job_id).state == "queued"


@pytest.mark.parametrize("state", ["queued", "running", "canceling", "succeeded"])
def test_only_failed_and_canceled_jobs_can_be_retried(scene: Scene, state: str) -> None:
    job_id = scene.queued() if state == "queued" else scene.leased()[0]
    if state == "canceling":
        scene.cancel(job_id)
    if state == "succeeded":
        scene.succeed_job(job_id)
    with pytest.raises(Conflict, match=f"is {state}"):
        scene.retry(job_id)


def test_a_job_that_does_not_exist_is_not_found(scene: Scene) -> None:
    with scene.database.begin() as tx:
        for call in (jobs.get, jobs.lock, jobs.version, jobs.request_cancel, jobs.retry):
            with pytest.raises(NotFound, match="no job job_x"):
                call(tx, "job_x")


def test_the_version_grows_with_every_change(scene: Scene) -> None:
    def version() -> int:
        with scene.database.read() as tx:
            return jobs.version(tx, job_id)

    job_id = scene.queued()
    seen = [version()]

    def changed() -> None:
        seen.append(version())

    with scene.database.begin() as tx:
        jobs.plan(tx, job_id, chain("capture"))
    changed()
    scene.bind(job_id, "capture", "k")
    changed()
    attempt = scene.won().attempt
    changed()
    scene.heartbeat(attempt, progress=0.5, doing="x")
    changed()
    scene.commit(attempt)
    changed()
    scene.succeed_job(job_id)
    changed()
    assert seen == sorted(set(seen))


def test_the_version_stays_while_nothing_changes(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    before = scene.job(job_id).revision
    scene.heartbeat(attempt, progress=0.0, doing="")
    after_first = scene.job(job_id).revision
    scene.heartbeat(attempt, progress=0.0, doing="")
    scene.due()
    scene.reap()
    assert before < after_first == scene.job(job_id).revision  # the first one told what it does


def test_unplanned_jobs_are_rung_once_unless_that_was_before_the_time_given(scene: Scene, clock: Clock) -> None:
    job_id = scene.queued()
    with scene.database.begin() as tx:
        rung = tx.now
        assert [job.id for job in jobs.unplanned(tx, 10)] == [job_id]
    clock.pass_(60)
    with scene.database.begin() as tx:
        assert jobs.unplanned(tx, 10) == jobs.unplanned(tx, 10, rung) == []
        assert [job.id for job in jobs.unplanned(tx, 10, rung + 0.1)] == [job_id]
        assert jobs.unplanned(tx, 10, rung + 0.1) == []


def test_unplanned_jobs_come_by_priority_then_age_and_limited(scene: Scene) -> None:
    late, first, middle, younger = (scene.queued(priority=priority) for priority in (9, 0, 5, 5))
    scene.running()
    with scene.database.begin() as tx:
        assert [job.id for job in jobs.unplanned(tx, 3)] == [first, middle, younger]
        assert [job.id for job in jobs.unplanned(tx, 3)] == [late]


def test_a_retried_job_is_rung_at_once(scene: Scene) -> None:
    job_id = scene.queued()
    with scene.database.begin() as tx:
        jobs.unplanned(tx, 10)
        jobs.fail(tx, job_id, {"code": "internal"})
        jobs.retry(tx, job_id)
        assert [job.id for job in jobs.unplanned(tx, 10)] == [job_id]


def test_a_running_job_that_nobody_advances_is_stuck(scene: Scene) -> None:
    waiting = scene.running()
    done, attempt = scene.leased("k")
    scene.commit(attempt)
    scene.queued()
    scene.ready("ready")
    scene.leased("leased")
    scene.succeed_job(scene.running())
    with scene.database.begin() as tx:
        assert [job.id for job in jobs.stuck(tx, 10)] == [waiting, done]
        assert jobs.stuck(tx, 10) == []


def test_stuck_jobs_are_rung_in_turn_so_that_none_is_left_out(scene: Scene) -> None:
    first, second, third = (scene.running() for _ in range(3))
    with scene.database.begin() as tx:
        assert [job.id for job in jobs.stuck(tx, 2)] == [first, second]
        assert [job.id for job in jobs.stuck(tx, 2)] == [third]
        assert [job.id for job in jobs.stuck(tx, 2, tx.now + 1)] == [first, second]


def test_a_list_is_paged_newest_first(scene: Scene) -> None:
    made = [scene.queued() for _ in range(5)]
    with scene.database.read() as tx:
        first = jobs.list_(tx, after=None, limit=2)
        second = jobs.list_(tx, after=first[-1].id, limit=2)
        third = jobs.list_(tx, after=second[-1].id, limit=2)
        assert jobs.list_(tx, after=third[-1].id, limit=2) == []
    assert [job.id for job in [*first, *second, *third]] == made[::-1]


def test_a_list_can_be_filtered_by_state_and_model(scene: Scene) -> None:
    queued, running, other = scene.queued(), scene.running(), scene.queued(model="resnet")
    with scene.database.read() as tx:
        assert [job.id for job in jobs.list_(tx, after=None, limit=9, state="running")] == [running]
        assert [job.id for job in jobs.list_(tx, after=None, limit=9, model="lenet")] == [running, queued]
        by_id = jobs.get(tx, other).model_id
        assert [job.id for job in jobs.list_(tx, after=None, limit=9, model=by_id)] == [other]
        assert jobs.list_(tx, after=None, limit=9, model="unknown") == []


def test_a_list_can_be_filtered_by_outcome(scene: Scene) -> None:
    judged, retried = scene.running(), scene.running()
    scene.queued()
    with scene.database.begin() as tx:
        jobs.succeed(tx, judged, {"outcome": "improved"})
        jobs.fail(tx, retried, {"code": "internal"})
        jobs.retry(tx, retried)
        assert [job.id for job in jobs.list_(tx, after=None, limit=9, outcome="improved")] == [judged]
        assert jobs.list_(tx, after=None, limit=9, outcome="no_gain") == []


@pytest.mark.parametrize("text", ["NET", "len", "lenet:1"])
def test_a_list_can_be_searched_by_part_of_a_name_in_any_case(scene: Scene, text: str) -> None:
    job_id, _ = scene.queued(), scene.queued(model="vgg")
    with scene.database.read() as tx:
        assert [job.id for job in jobs.list_(tx, after=None, limit=9, search=text)] == [job_id]
        assert [job.id for job in jobs.list_(tx, after=None, limit=9, search=job_id[4:].upper())] == [job_id]


def test_signs_that_sql_has_for_anything_are_searched_as_themselves(scene: Scene) -> None:
    scene.queued()
    with scene.database.read() as tx:
        assert jobs.list_(tx, after=None, limit=9, search="%") == []
        assert jobs.list_(tx, after=None, limit=9, search="l_net") == []


def test_marks_of_a_list_change_with_what_it_shows(scene: Scene) -> None:
    first, second = scene.queued(), scene.running()
    with scene.database.read() as tx:
        before = jobs.list_marks(tx, after=None, limit=9)
        assert before == [(second, "running", None), (first, "queued", None)]
        assert jobs.list_marks(tx, after=second, limit=9) == [(first, "queued", None)]
        assert jobs.list_marks(tx, after=None, limit=9, state="running") == [(second, "running", None)]
    scene.succeed_job(second)
    with scene.database.read() as tx:
        after = jobs.list_marks(tx, after=None, limit=9)
    assert after[0][1] == "succeeded"
    assert after[0][2] is not None


@pytest.mark.parametrize(
    "values",
    [{"state": "lost"}, {"state": "succeeded"}, {"state": "failed"}, {"priority": 10}, {"finished_at": 1.0}],
)
def test_the_database_refuses_a_job_that_no_state_allows(scene: Scene, values: dict[str, object]) -> None:
    scene.queued()
    with pytest.raises(InternalError, match="refused a statement"), scene.database.begin() as tx:
        tx.execute(table.update().values(**values))
