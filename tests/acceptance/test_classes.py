"""Worker classes: who announces what, and who runs what."""

from __future__ import annotations

import os
import signal
from typing import Any

from storage import computations, workers
from storage.records import Job, WorkerRow
from tests.acceptance.service import QUANTIZE, Service, until


def on(device: str) -> dict[str, Any]:
    return {**QUANTIZE, "target": {**QUANTIZE["target"], "device": device}}


def submit(service: Service, device: str, **script: Any) -> Job:
    job = service.submit({"on": device, **script}, on(device), ring=False)
    service.doorbell.plan(job.id, device, job.priority)
    return job


def start(service: Service, *queues: str) -> WorkerRow:
    """A worker of these queues, once it has announced itself."""
    service.limit(queues=queues)
    process = service.start_worker(name="-".join(queues))
    until(lambda: any(row.name.endswith(f":{process.pid}") for row in live(service)))
    return next(row for row in live(service) if row.name.endswith(f":{process.pid}"))


def live(service: Service) -> list[WorkerRow]:
    with service.database.read() as tx:
        return workers.live(tx)


def computed_by(service: Service, job: Job) -> set[str | None]:
    return {step.worker for step in service.steps(job.id).values()}


def test_a_worker_announces_what_it_serves_and_what_it_runs_on(here: Service) -> None:
    row = start(here, "cpu", "cuda")
    assert (row.queues, row.device) == (["cpu", "cuda"], "cpu")
    assert row.threads == len(os.sched_getaffinity(0))
    assert row.memory > 10**8
    assert row.isa
    assert row.versions["python"]


def test_a_step_goes_only_to_a_worker_of_its_class(here: Service) -> None:
    here.start_tick()
    cpu, cuda = start(here, "cpu"), start(here, "cuda")
    jobs = {row.id: [submit(here, row.queues[0], n=number) for number in range(2)] for row in (cpu, cuda)}
    for worker, own in jobs.items():
        for job in own:
            assert here.ended(job.id).state == "succeeded", here.story(job.id)
            assert computed_by(here, job) == {worker}


def test_a_step_of_another_class_is_left_alone_even_if_its_doorbell_rings_here(here: Service) -> None:
    here.start_tick()
    cuda = start(here, "cuda")
    job = submit(here, "cuda", **{"capture": {"seconds": 600}})
    until(lambda: here.steps(job.id).get("capture") is not None and here.steps(job.id)["capture"].state == "leased")
    pid = int(cuda.name.rpartition(":")[2])
    os.kill(pid, signal.SIGKILL)
    until(lambda: here.steps(job.id)["capture"].state == "ready", story=lambda: here.story(job.id))
    start(here, "cpu")
    key = str(here.steps(job.id)["capture"].key)
    for _ in range(3):
        here.doorbell.step(key, "cpu", 0)
    passed = submit(here, "cpu")  # heard after those three
    assert here.ended(passed.id).state == "succeeded"
    with here.database.read() as tx:
        found = computations.get(tx, key)
    assert found is not None
    assert (found.state, found.attempt) == ("ready", 1)


def test_a_worker_that_stops_takes_nothing_new_and_is_announced_no_longer(here: Service) -> None:
    here.start_tick()
    row = start(here, "cpu")
    job = submit(here, "cpu", **{"pass:quantize": {"seconds": 1.5}})
    until(lambda: here.pid(job.id, step="quantize") is not None, story=lambda: here.story(job.id))
    os.kill(int(row.name.rpartition(":")[2]), signal.SIGTERM)
    late = submit(here, "cpu", late=True)
    until(lambda: row.id not in [each.id for each in live(here)], 25, lambda: here.story(job.id))
    assert here.steps(job.id)["quantize"].state == "done"
    assert {step.state for step in here.steps(late.id).values()} <= {"waiting", "ready"}
    heir = start(here, "cpu")
    assert here.ended(late.id).state == "succeeded", here.story(late.id)
    assert computed_by(here, late) == {heir.id}
