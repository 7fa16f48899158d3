"""Each transition of a computation, and each that must not happen."""

from __future__ import annotations

import pytest

from burnish.errors import BlobCorrupt, InternalError, OutOfMemory
from storage import computations, ready
from storage.tables import computations as table
from tests.storage.scene import Clock, Scene


def test_a_new_key_is_ready_with_all_its_attempts(scene: Scene) -> None:
    scene.ready()
    found = scene.computation()
    assert (found.state, found.attempt, found.failures, found.max_attempts) == ("ready", 0, 0, 3)


def test_a_claim_leases_it_for_the_ttl(scene: Scene, clock: Clock) -> None:
    job_id = scene.ready()
    claim = scene.won(worker="w7")
    found = scene.computation()
    assert claim.attempt == 1
    assert (found.state, found.worker, found.lease_until) == ("leased", "w7", clock.now + scene.ttl)
    assert scene.states(job_id) == {"capture": "leased"}


def test_a_claim_holds_what_is_needed_to_run_it(scene: Scene) -> None:
    scene.ready()
    claim = scene.won()
    assert (claim.key, claim.op, claim.inputs, claim.queue) == ("k", "capture", {"in": "0" * 64}, "cpu")
    assert claim.spec == {"inputs": {"in": "sha256:" + "0" * 64}}


def test_a_duplicate_doorbell_wins_nothing(scene: Scene) -> None:
    scene.leased()
    assert scene.claim(worker="w2") is None
    assert scene.computation().worker == "w1"


def test_a_doorbell_for_an_unknown_key_wins_nothing(scene: Scene) -> None:
    assert scene.claim("nothing") is None


@pytest.mark.parametrize("end", ["done", "failed", "canceled"])
def test_what_has_ended_can_not_be_claimed(scene: Scene, end: str) -> None:
    job_id, attempt = scene.leased()
    if end == "done":
        scene.commit(attempt)
    elif end == "failed":
        scene.fail(attempt)
    else:
        scene.cancel(job_id)
        scene.release(attempt)
    assert scene.computation().state == end
    assert scene.claim() is None


def test_nothing_is_claimed_before_its_backoff_is_over(scene: Scene, clock: Clock) -> None:
    _, attempt = scene.leased()
    scene.fail(attempt, retry_in=5.0)
    clock.pass_(4.9)
    assert scene.claim() is None
    clock.pass_(0.1)
    assert scene.won().attempt == 2


def test_a_heartbeat_renews_the_lease(scene: Scene, clock: Clock) -> None:
    _, attempt = scene.leased()
    clock.pass_(20)
    assert scene.heartbeat(attempt) == "go"
    clock.pass_(20)
    assert scene.claim(worker="w2") is None
    assert scene.reap() == []
    assert scene.computation().state == "leased"


def test_a_heartbeat_may_come_late_if_nobody_took_the_lease(scene: Scene, clock: Clock) -> None:
    _, attempt = scene.leased()
    clock.pass_(scene.ttl + 1)
    assert scene.heartbeat(attempt) == "go"
    assert scene.claim(worker="w2") is None


def test_a_heartbeat_tells_progress_once(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    for _ in range(3):
        scene.heartbeat(attempt, progress=0.5, doing="epoch 3")
    found = scene.computation()
    assert (found.progress, found.doing) == (0.5, "epoch 3")
    assert scene.kinds(job_id).count("step.progress") == 1


def test_log_lines_reach_the_job(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, log=["one", "two \0 three"])
    logged = [event for event in scene.events(job_id) if event.kind == "log"]
    assert [event.data["line"] for event in logged] == ["one", "two \0 three"]
    assert {event.step for event in logged} == {"capture"}


def test_text_that_is_no_text_does_not_stop_a_heartbeat(scene: Scene) -> None:
    _, attempt = scene.leased()
    assert scene.heartbeat(attempt, progress=0.1, doing="a\0b\udc80") == "go"
    assert scene.computation().doing == "a\N{REPLACEMENT CHARACTER}b?"


def test_a_lapsed_lease_can_be_claimed_and_counts_as_a_failure(scene: Scene, clock: Clock) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, progress=0.4, doing="calibrating")
    clock.pass_(scene.ttl + 1)
    claim = scene.won(worker="w2")
    assert (claim.attempt, claim.failures) == (2, 1)
    (reason,) = claim.reasons
    assert (reason["worker"], reason["doing"], reason["error"]["code"]) == ("w1", "calibrating", "resource.worker")
    assert scene.kinds(job_id)[-2:] == ["step.retry", "step.leased"]


def test_a_stale_attempt_changes_nothing(scene: Scene, clock: Clock) -> None:
    _, old = scene.leased()
    clock.pass_(scene.ttl + 1)
    new = scene.won(worker="w2").attempt
    before = scene.computation()
    assert scene.heartbeat(old, progress=0.9, doing="stale", log=["stale"]) == "lost"
    assert scene.commit(old) is None
    assert scene.fail(old) is None
    assert scene.fail(old, retry_in=1.0) is None
    assert not scene.release(old)
    assert scene.computation() == before
    assert scene.commit(new) is not None


def test_a_stale_attempt_tells_the_job_nothing(scene: Scene, clock: Clock) -> None:
    job_id, old = scene.leased()
    clock.pass_(scene.ttl + 1)
    scene.won(worker="w2")
    before = scene.events(job_id)
    scene.heartbeat(old, progress=0.9, doing="stale", log=["stale"])
    scene.commit(old)
    assert scene.events(job_id) == before


def test_a_commit_ends_it_for_its_job(scene: Scene, clock: Clock) -> None:
    job_id, attempt = scene.leased()
    clock.pass_(2)
    assert scene.commit(attempt) == [job_id]
    found = scene.computation()
    assert (found.state, found.outputs, found.report, found.finished_at) == (
        "done", {"out": "c" * 64}, {"flops": 7}, clock.now,
    )  # fmt: skip
    step = scene.steps(job_id)["capture"]
    assert (step.state, step.hit, step.outputs, step.seconds, step.peak_memory) == (
        "done", False, {"out": "c" * 64}, 2.0, 1024,
    )  # fmt: skip


def test_a_second_commit_is_fenced_off(scene: Scene) -> None:
    _, attempt = scene.leased()
    assert scene.commit(attempt) is not None
    assert scene.commit(attempt) is None
    assert scene.fail(attempt) is None
    assert scene.heartbeat(attempt) == "lost"
    assert scene.computation().state == "done"


def test_the_cache_gives_only_what_is_done(scene: Scene) -> None:
    _, attempt = scene.leased()
    with scene.database.read() as tx:
        assert computations.done(tx, "k") is None
        assert computations.done(tx, "nothing") is None
    scene.commit(attempt)
    with scene.database.read() as tx:
        assert computations.done(tx, "k") == computations.get(tx, "k")


def test_a_failure_that_may_be_retried_makes_it_ready_after_a_while(scene: Scene, clock: Clock) -> None:
    job_id, attempt = scene.leased()
    assert scene.fail(attempt, retry_in=5.0, error=OutOfMemory("Too big.", cure="Use less.")) == []
    found = scene.computation()
    assert (found.state, found.run_after, found.failures, found.error) == ("ready", clock.now + 5, 1, None)
    assert found.reasons[0]["error"]["code"] == "resource.memory"
    assert scene.states(job_id) == {"capture": "ready"}
    assert scene.kinds(job_id)[-1] == "step.retry"


def test_a_failure_that_may_not_be_retried_fails_the_step(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    assert scene.fail(attempt, retry_in=None) == [job_id]
    step = scene.steps(job_id)["capture"]
    assert step.state == "failed"
    assert step.error == InternalError("It broke.", cure="Mend it.").document()
    assert scene.kinds(job_id)[-1] == "step.failed"


def test_the_third_failure_is_the_last(scene: Scene) -> None:
    job_id = scene.ready()
    assert scene.fail(scene.won().attempt, retry_in=0.0) == []
    assert scene.fail(scene.won().attempt, retry_in=0.0) == []
    assert scene.fail(scene.won().attempt, retry_in=0.0) == [job_id]
    found = scene.computation()
    assert (found.state, found.attempt) == ("failed", 3)
    assert [reason["attempt"] for reason in found.reasons] == [1, 2, 3]


def test_what_a_failed_attempt_used_is_kept(scene: Scene) -> None:
    _, attempt = scene.leased()
    error = OutOfMemory("Too big.", cure="Use less.").document()
    with scene.database.begin() as tx:
        computations.fail(tx, "k", attempt, error=error, retry_in=None, seconds=3.0, peak_memory=99)
    found = scene.computation()
    assert (found.seconds, found.peak_memory) == (3.0, 99)
    assert found.reasons[0]["peak_memory"] == 99


def test_a_released_lease_is_ready_at_once_and_counts_nothing(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    assert scene.release(attempt)
    found = scene.computation()
    assert (found.state, found.failures, found.worker) == ("ready", 0, None)
    assert scene.states(job_id) == {"capture": "ready"}
    assert scene.won().attempt == attempt + 1


def test_releases_never_use_up_the_attempts(scene: Scene) -> None:
    scene.ready()
    for _ in range(5):
        scene.release(scene.won().attempt)
    assert scene.won().failures == 0


def test_the_reaper_leaves_live_leases_alone(scene: Scene, clock: Clock) -> None:
    scene.leased()
    clock.pass_(scene.ttl)
    assert scene.reap() == []
    assert scene.computation().state == "leased"


def test_the_reaper_makes_a_lapsed_lease_ready_to_be_rung_at_once(scene: Scene, clock: Clock) -> None:
    job_id = scene.ready()
    scene.due()
    scene.won()
    clock.pass_(scene.ttl + 1)
    assert scene.reap() == []
    assert scene.states(job_id) == {"capture": "ready"}
    assert scene.due() == ["k"]


def test_the_reaper_fails_the_third_lapse_and_keeps_all_three_reasons(scene: Scene, clock: Clock) -> None:
    job_id = scene.ready()
    for worker in ("w1", "w2", "w3"):
        attempt = scene.won(worker=worker).attempt
        scene.heartbeat(attempt, progress=0.5, doing=f"work of {worker}")
        clock.pass_(scene.ttl + 1)
        advance = scene.reap()
    assert advance == [job_id]
    found = scene.computation()
    assert found.state == "failed"
    assert [reason["worker"] for reason in found.reasons] == ["w1", "w2", "w3"]
    assert [reason["doing"] for reason in found.reasons] == ["work of w1", "work of w2", "work of w3"]
    assert found.error is not None
    assert found.error["code"] == "resource.worker"
    assert "w3 gave no sign of life for 31 s" in found.error["message"]
    assert scene.steps(job_id)["capture"].error == found.error


def test_the_third_lapse_is_the_reapers_and_can_not_be_claimed(scene: Scene, clock: Clock) -> None:
    scene.ready()
    for _ in range(3):
        scene.won()
        clock.pass_(scene.ttl + 1)
    assert scene.claim() is None
    scene.reap()
    assert scene.computation().state == "failed"


def test_the_reaper_takes_many_at_once(scene: Scene, clock: Clock) -> None:
    for key in ("a", "b", "c"):
        scene.leased(key)
    clock.pass_(scene.ttl + 1)
    scene.reap()
    assert {scene.computation(key).state for key in ("a", "b", "c")} == {"ready"}


def test_a_result_whose_blob_is_lost_is_computed_again(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.commit(attempt)
    scene.leased("other")
    error = BlobCorrupt("Gone.", cure="Run it again.").document()
    with scene.database.begin() as tx:
        assert computations.disown(tx, "d" * 64, error) == 0
        assert computations.disown(tx, "c" * 64, error) == 1
    found = scene.computation()
    assert (found.state, found.outputs, found.error) == ("failed", None, error)
    assert scene.states(job_id) == {"capture": "done"}
    assert not scene.steps(scene.ready())["capture"].hit
    assert scene.won().attempt == attempt + 1


def test_due_rings_each_once_until_the_redispatch_time(scene: Scene, clock: Clock) -> None:
    scene.ready()
    assert scene.due(redispatch=60) == ["k"]
    clock.pass_(60)
    assert scene.due(redispatch=60) == []
    clock.pass_(0.1)
    assert scene.due(redispatch=60) == ["k"]


def test_due_is_ordered_by_priority_then_age_and_limited(scene: Scene, clock: Clock) -> None:
    for key, priority in (("late", 9), ("first", 0), ("middle", 5), ("younger", 5)):
        scene.ready(key, priority=priority)
        clock.pass_(1)
    assert scene.due(limit=3) == ["first", "middle", "younger"]
    assert scene.due() == ["late"]


def test_due_leaves_out_what_is_leased_or_waits_for_its_backoff(scene: Scene, clock: Clock) -> None:
    scene.leased("leased")
    _, attempt = scene.leased("backoff")
    scene.fail(attempt, "backoff", retry_in=5.0)
    assert scene.due() == []
    clock.pass_(5)
    assert scene.due() == ["backoff"]


def test_due_gives_queue_and_priority(scene: Scene) -> None:
    scene.ready(priority=3)
    with scene.database.begin() as tx:
        assert ready.due(tx, 10) == [("k", "cpu", 3)]


@pytest.mark.parametrize(
    "values",
    [
        {"state": "running"},
        {"state": "leased"},
        {"state": "leased", "lease_until": 1.0},
        {"state": "done"},
        {"state": "failed"},
        {"cancel": True},
        {"failures": 1},
        {"failures": 3, "attempt": 3},
        {"lease_until": 1.0},
    ],
)
def test_the_database_refuses_a_row_that_no_state_allows(scene: Scene, values: dict[str, object]) -> None:
    scene.ready()
    with pytest.raises(InternalError, match="refused a statement"), scene.database.begin() as tx:
        tx.execute(table.update().values(**values))
