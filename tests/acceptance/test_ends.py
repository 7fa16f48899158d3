"""Cancels and failures: what stops, how fast, and what the user is told."""

from __future__ import annotations

import os
import time

from storage import jobs
from tests.acceptance.service import Service, until


def test_a_canceled_job_is_dead_with_all_its_processes_within_five_seconds(anywhere: Service) -> None:
    anywhere.start_worker(slots=1)
    anywhere.start_tick()
    job = anywhere.submit({"pass:quantize": {"seconds": 600, "child": True}})
    until(lambda: anywhere.pid(job.id, "child") is not None, story=lambda: anywhere.story(job.id))
    pids = [anywhere.pid(job.id, word, "quantize") for word in ("pid", "child")]
    asked = time.monotonic()
    with anywhere.database.begin() as tx:
        jobs.request_cancel(tx, job.id)
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 5.0)
    assert anywhere.ended(job.id, 5.0).state == "canceled"
    assert time.monotonic() - asked < 5
    until(lambda: not list((anywhere.settings.data / "scratch").glob("wrk_*/*-1")), 2.0)
    after = anywhere.submit({})
    assert anywhere.ended(after.id).state == "succeeded"  # in the slot, the only one, that the canceled step had


def test_canceling_one_of_two_jobs_leaves_their_common_step_running(running: Service) -> None:
    one, two = (running.submit({"pass:quantize": {"seconds": 2.0}, "for": "two"}) for _ in range(2))
    until(lambda: running.pid(one.id, step="quantize") is not None and "quantize" in running.steps(two.id))
    with running.database.begin() as tx:
        jobs.request_cancel(tx, one.id)
    assert running.ended(two.id).state == "succeeded"
    assert running.job(one.id).state == "canceled"
    assert running.steps(two.id)["quantize"].attempt == 1


def test_a_retried_job_goes_on_where_it_was_stopped(running: Service) -> None:
    job = running.submit({"pass:quantize": {"seconds": 3.0}, "for": "retry"})
    until(lambda: running.pid(job.id, step="quantize") is not None)
    with running.database.begin() as tx:
        jobs.request_cancel(tx, job.id)
    running.ended(job.id)
    with running.database.begin() as tx:
        jobs.retry(tx, job.id)
    assert running.ended(job.id).state == "succeeded"
    steps = running.steps(job.id)
    assert steps["capture"].hit
    assert not steps["quantize"].hit


def test_an_error_of_the_user_is_final_at_once(running: Service) -> None:
    job = running.ended(running.submit({"pass:quantize": {"raise": "user"}}).id)
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["step"]) == ("model.unsupported", "quantize")
    assert len(running.steps(job.id)["quantize"].reasons or []) == 1


def test_a_variant_that_can_not_be_made_is_one_contender_less(running: Service) -> None:
    search = {"target": {"backend": "inductor"}}
    job = running.ended(running.submit({"pass:prune": {"raise": "user"}}, search).id)
    assert job.state == "succeeded", running.story(job.id)
    assert job.verdict is not None
    refused = {each["name"]: each["refused"] for each in job.verdict["candidates"] if each["refused"]}
    assert list(refused) == ["prune50+distill+int8@inductor"]
    assert "The script says so" in refused["prune50+distill+int8@inductor"]
    assert running.steps(job.id)["prune50+distill+int8/distill"].state == "canceled"


def test_a_step_that_runs_too_long_is_ended_and_not_tried_again(here: Service) -> None:
    here.limit(step_seconds=1.0)
    here.start_worker()
    here.start_tick()
    job = here.ended(here.submit({"pass:quantize": {"seconds": 600}}).id)
    assert job.error is not None
    assert job.error["code"] == "resource.time"
    assert here.steps(job.id)["quantize"].attempt == 1


def test_a_step_that_uses_too_much_memory_is_ended_with_the_figure(here: Service) -> None:
    here.limit(step_memory=100_000_000)
    here.start_worker()
    here.start_tick()
    job = here.ended(here.submit({"pass:quantize": {"allocate": 10**9}}).id)
    assert job.error is not None
    assert job.error["code"] == "resource.memory"
    assert "BURNISH_STEP_MEMORY" in job.error["cure"]
