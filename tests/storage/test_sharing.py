"""Jobs that share a computation: it runs once, all of them see it, and it stops only when the last lets go."""

from __future__ import annotations

from storage import jobs
from tests.storage.scene import Clock, Scene, chain


def test_ten_jobs_share_one_computation(scene: Scene) -> None:
    job_ids = [scene.ready() for _ in range(10)]
    claim = scene.won()
    assert scene.claim(worker="w2") is None
    scene.heartbeat(claim.attempt, progress=0.5, doing="x")
    assert scene.commit(claim.attempt) == sorted(job_ids)
    for job_id in job_ids:
        assert scene.states(job_id) == {"capture": "done"}
        assert scene.kinds(job_id)[-3:] == ["step.leased", "step.progress", "step.done"]


def test_a_job_that_comes_later_shares_the_running_computation(scene: Scene) -> None:
    first, attempt = scene.leased()
    second = scene.ready()
    assert scene.states(second) == {"capture": "leased"}
    assert not scene.steps(second)["capture"].hit
    assert scene.commit(attempt) == sorted([first, second])


def test_a_job_that_comes_after_the_end_hits_the_cache(scene: Scene) -> None:
    _, attempt = scene.leased()
    scene.commit(attempt)
    step = scene.steps(scene.ready())["capture"]
    assert (step.state, step.hit, step.outputs) == ("done", True, {"out": "c" * 64})
    assert scene.claim() is None


def test_two_steps_of_one_job_may_have_one_key(scene: Scene) -> None:
    job_id = scene.running(*chain("one", "two"))
    scene.bind(job_id, "one", "k")
    scene.bind(job_id, "two", "k")
    assert scene.commit(scene.won().attempt) == [job_id]
    assert scene.states(job_id) == {"one": "done", "two": "done"}


def test_a_failure_fails_the_step_of_every_job(scene: Scene) -> None:
    job_ids = [scene.ready() for _ in range(3)]
    assert scene.fail(scene.won().attempt) == sorted(job_ids)
    for job_id in job_ids:
        assert scene.states(job_id) == {"capture": "failed"}


def test_cancel_of_one_job_keeps_the_shared_computation_running(scene: Scene) -> None:
    first, attempt = scene.leased()
    second = scene.ready()
    assert scene.cancel(first).state == "canceled"
    assert scene.states(first) == {"capture": "canceled"}
    assert scene.heartbeat(attempt) == "go"
    assert scene.commit(attempt) == [second]
    assert scene.states(first) == {"capture": "canceled"}


def test_cancel_of_one_job_keeps_the_shared_computation_ready(scene: Scene) -> None:
    first, second = scene.ready(), scene.ready()
    scene.cancel(first)
    assert scene.computation().state == "ready"
    assert scene.states(second) == {"capture": "ready"}


def test_cancel_of_the_last_job_stops_the_computation(scene: Scene) -> None:
    first, attempt = scene.leased()
    second = scene.ready()
    scene.cancel(first)
    assert scene.cancel(second).state == "canceling"
    assert scene.heartbeat(attempt) == "cancel"
    scene.release(attempt)
    assert scene.job(second).state == "canceled"
    assert scene.computation().state == "canceled"


def test_failure_of_one_job_keeps_the_shared_computation_running(scene: Scene) -> None:
    first, attempt = scene.leased()
    second = scene.ready()
    scene.fail_job(first)
    assert scene.heartbeat(attempt) == "go"
    assert scene.commit(attempt) == [second]


def test_a_canceled_computation_is_re_armed_for_the_next_job(scene: Scene) -> None:
    scene.cancel(scene.ready())
    assert scene.computation().state == "canceled"
    job_id = scene.ready()
    assert scene.states(job_id) == {"capture": "ready"}
    assert scene.won().attempt == 1


def test_re_arming_leaves_the_steps_of_ended_jobs_alone(scene: Scene) -> None:
    failed, attempt = scene.leased()
    scene.fail(attempt)
    scene.fail_job(failed)
    canceled = scene.ready()
    scene.cancel(canceled)
    scene.ready()
    scene.commit(scene.won().attempt)
    assert scene.states(failed) == {"capture": "failed"}
    assert scene.states(canceled) == {"capture": "canceled"}
    assert scene.steps(failed)["capture"].error is not None


def test_a_job_that_comes_while_a_worker_stops_gets_its_own_run(scene: Scene) -> None:
    first, attempt = scene.leased()
    scene.cancel(first)
    second = scene.ready()
    assert scene.heartbeat(attempt) == "cancel"
    assert scene.release(attempt)
    assert scene.job(first).state == "canceled"
    assert scene.states(second) == {"capture": "ready"}
    assert scene.due() == ["k"]
    claim = scene.won()
    assert (claim.attempt, claim.failures) == (attempt + 1, 0)


def test_a_job_that_comes_while_a_worker_stops_may_get_its_result_after_all(scene: Scene) -> None:
    first, attempt = scene.leased()
    scene.cancel(first)
    second = scene.ready()
    assert scene.commit(attempt) == [second]
    assert scene.job(first).state == "canceled"


def test_a_job_that_comes_while_a_dead_worker_was_to_stop_gets_its_own_run(scene: Scene, clock: Clock) -> None:
    first, _ = scene.leased()
    scene.cancel(first)
    second = scene.ready()
    clock.pass_(scene.ttl + 1)
    scene.reap()
    assert scene.job(first).state == "canceled"
    assert scene.states(second) == {"capture": "ready"}
    assert scene.won().failures == 0


def test_the_most_urgent_job_sets_the_priority(scene: Scene) -> None:
    scene.ready(priority=7)
    scene.ready(priority=2)
    scene.ready(priority=5)
    assert scene.computation().priority == 2


def test_a_job_retried_while_its_work_is_stopped_runs_again(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.fail_job(job_id)
    scene.retry(job_id)
    with scene.database.begin() as tx:
        jobs.plan(tx, job_id, chain("capture"))
    scene.bind(job_id, "capture", "k")
    assert scene.heartbeat(attempt) == "cancel"
    scene.release(attempt)
    assert scene.states(job_id) == {"capture": "ready"}
