"""What real processes tell of a job: one trace in all their log lines, every line of a step, why it was killed."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import update

from api.documents import job_resource
from burnish.resources import JobResource
from burnish.trace import Trace
from storage import jobs, steps
from storage.records import Job
from storage.tables import jobs as table
from tests.acceptance.service import Service, until


def submit(service: Service, script: dict[str, Any], trace: Trace) -> Job:
    """As the API does it: with the trace of the request."""
    job = service.submit(script, ring=False)
    with service.database.begin() as tx:
        tx.execute(update(table).where(table.c.id == job.id).values(traceparent=str(trace)))
    service.doorbell.plan(job.id, "cpu", job.priority)
    return job


def lines(service: Service, name: str) -> list[dict[str, Any]]:
    """All lines of a process's log: each has to be JSON."""
    return [json.loads(line) for line in (service.folder / f"{name}.log").read_text().splitlines()]


def document(service: Service, job_id: str) -> JobResource:
    with service.database.read() as tx:
        return job_resource(jobs.get(tx, job_id), steps.of_job(tx, job_id))


def test_every_line_about_a_job_has_its_trace(here: Service) -> None:
    here.limit(log="json")
    here.start_worker()
    here.start_tick()
    trace = Trace.new()
    job = submit(here, {"pass:quantize": {"raise": "user"}, "capture": {"probe": []}}, trace)
    here.ended(job.id)
    told = [line for line in lines(here, "worker") if line.get("job") == job.id]
    assert {line["trace"] for line in told} == {trace.trace_id}
    assert {line["part"] for line in told} == {"worker"}
    begun = {line["step"] for line in told if line["message"] == "Attempt begins"}
    printed = [line for line in told if line["logger"] == "workers.step" and line["message"].startswith("pid ")]
    # Another step may have begun when `quantize` failed the job, and been killed before it printed anything.
    assert {"capture", "split", "quantize"} <= {line["step"] for line in printed} <= begun
    assert all(line["attempt"] == 1 and line["op"] and line["key"] for line in printed)
    assert any(line["level"] == "WARNING" and "The script says so" in line["message"] for line in told)
    environment = (here.steps(job.id)["capture"].report or {})["probe"]["environment"]
    assert "TRACEPARENT" in environment


def test_what_a_quick_step_prints_is_in_the_history(here: Service) -> None:
    here.start_worker()
    here.start_tick()
    job = here.ended(here.submit({}).id)
    logged = {event.step for event in here.events(job.id) if event.kind == "log"}
    assert logged == set(here.steps(job.id))


def test_two_jobs_that_share_a_step_are_both_named(here: Service) -> None:
    here.limit(log="json")
    traces = [Trace.new(), Trace.new()]
    both = [submit(here, {"pass:quantize": {"seconds": 1.0}}, trace) for trace in traces]
    here.start_worker()
    here.start_tick()
    for job in both:
        assert here.ended(job.id).state == "succeeded"
    shared = [line for line in lines(here, "worker") if len(line.get("jobs", ())) == 2]
    assert shared
    assert {tuple(line["jobs"]) for line in shared} == {tuple(job.id for job in both)}
    assert {tuple(line["traces"]) for line in shared} == {tuple(trace.trace_id for trace in traces)}


def test_a_step_out_of_memory_tells_peak_settings_limit_and_its_last_words(here: Service) -> None:
    here.limit(step_memory=100_000_000)
    here.start_worker()
    here.start_tick()
    job = here.ended(here.submit({"pass:quantize": {"allocate": 10**9}}).id)
    told = document(here, job.id)
    assert told.error is not None
    assert (told.error.code, told.error.error_class) == ("resource.memory", "resource")
    details = told.error.details
    assert details["step"] == "quantize"
    assert details["memory_limit"] == 100_000_000
    assert details["peak_memory"] > 0
    assert details["settings"]["weights"] == "int8"
    assert "pid " in details["log_tail"]


def test_a_step_that_is_killed_each_time_shows_all_three_reasons(here: Service) -> None:
    here.start_worker()
    here.start_tick()
    job = here.ended(here.submit({"pass:quantize": {"end": "SIGKILL"}}).id)
    step = next(step for step in document(here, job.id).steps if step.name == "quantize")
    assert [failure.attempt for failure in step.failures] == [1, 2, 3]
    for failure in step.failures:
        assert failure.error.code == "resource.memory"
        assert failure.error.details["exit_status"] == -9
        assert failure.error.details["peak_memory"] > 0
        assert "pid " in failure.error.details["log_tail"]
    until(lambda: [event.kind for event in here.events(job.id)].count("step.retry") == 2)
