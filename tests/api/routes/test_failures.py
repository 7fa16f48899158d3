"""Why a step failed: what the document of its job, the page and the command line tell."""

from __future__ import annotations

from typing import Any

from storage import computations, jobs
from storage.records import Job
from tests.api.place import Place

KEY = "f" * 64


def poisoned(place: Place) -> Job:
    """A job whose step was killed three times."""
    job = place.job()
    place.plan(job, ["quantize"])
    claim = place.start(job, "quantize", KEY)
    for attempt in (1, 2, 3):
        with place.database.begin() as tx:
            claim = claim or computations.claim(tx, KEY, worker="wrk_cpu", ttl=60)
            assert claim is not None
            computations.fail(tx, KEY, claim.attempt, error=killed(attempt), retry_in=0.0, seconds=1.5)
        claim = None
    with place.database.begin() as tx:
        assert jobs.fail(tx, job.id, {**killed(3), "step": "quantize"})
    return job


def killed(attempt: int) -> dict[str, Any]:
    """What a worker writes when the kernel took its step."""
    details = {
        "exit_status": -9,
        "peak_memory": 3_210_000_000,
        "memory_limit": None,
        "threads": 2,
        "settings": {"weights": "int8"},
        "log_tail": f"calibrating\nbatch {attempt} of 40\n",
    }
    fixed = {"code": "resource.memory", "class": "resource", "where": None, "cure": "Use a larger worker."}
    return {**fixed, "message": f"Killed, time {attempt}.", "details": details}


def test_a_kill_keeps_log_tail_peak_memory_and_settings(place: Place) -> None:
    document = place.client.get(f"/v1/jobs/{poisoned(place).id}").json
    for error in (document["error"], document["steps"][0]["error"]):
        assert error["error_class"] == "resource"
        assert error["details"]["log_tail"].endswith("batch 3 of 40\n")
        assert error["details"]["peak_memory"] == 3_210_000_000
        assert error["details"]["settings"] == {"weights": "int8"}
        assert error["details"]["exit_status"] == -9
    assert document["error"]["details"]["step"] == "quantize"


def test_a_poisoned_step_shows_each_of_its_reasons(place: Place) -> None:
    step = place.client.get(f"/v1/jobs/{poisoned(place).id}").json["steps"][0]
    assert [failure["attempt"] for failure in step["failures"]] == [1, 2, 3]
    assert [failure["error"]["message"] for failure in step["failures"]] == [f"Killed, time {n}." for n in (1, 2, 3)]
    assert {failure["worker"] for failure in step["failures"]} == {"wrk_cpu"}
    assert {failure["seconds"] for failure in step["failures"]} == {1.5}


def test_the_page_shows_them_with_all_that_is_known(place: Place) -> None:
    page = place.client.get(f"/jobs/{poisoned(place).id}").text
    for part in ("3 failed attempts", "Killed, time 1.", "Killed, time 2.", "batch 2 of 40", "weights", "3.21 GB"):
        assert part in page, part


def test_a_step_that_was_done_in_the_end_shows_what_failed_before(place: Place) -> None:
    job = place.job()
    place.plan(job, ["quantize"])
    claim = place.start(job, "quantize", KEY)
    assert claim is not None
    with place.database.begin() as tx:
        computations.fail(tx, KEY, claim.attempt, error=killed(1), retry_in=0.0)
    with place.database.begin() as tx:
        again = computations.claim(tx, KEY, worker="wrk_cpu", ttl=60)
    assert again is not None
    place.finish(again)
    step = place.client.get(f"/v1/jobs/{job.id}").json["steps"][0]
    assert (step["state"], step["error"], len(step["failures"])) == ("done", None, 1)


def test_a_lost_worker_leaves_its_last_sign_of_life(place: Place) -> None:
    job = place.job()
    place.plan(job, ["quantize"])
    claim = place.start(job, "quantize", KEY)
    assert claim is not None
    with place.database.begin() as tx:
        computations.heartbeat(tx, KEY, claim.attempt, ttl=-1, progress=0.5, doing="calibrating")
    with place.database.begin() as tx:
        computations.reap(tx)
    (failure,) = place.client.get(f"/v1/jobs/{job.id}").json["steps"][0]["failures"]
    assert failure["error"]["code"] == "resource.worker"
    assert failure["doing"] == "calibrating"
    assert failure["seen_at"]
