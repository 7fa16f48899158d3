"""What waits for a slot: in which order it goes, and how quickly it can be canceled."""

from __future__ import annotations

import time
from pathlib import Path

from storage import jobs
from tests.acceptance.service import Service, until
from tests.web.site import site_in


def _busy(service: Service) -> str:
    """One slot, taken by a step that ends when its job is canceled."""
    service.start_worker(slots=1)
    service.start_tick()
    job = service.submit({"capture": {"seconds": 600}})
    until(lambda: service.pid(job.id, step="capture") is not None, story=lambda: service.story(job.id))
    return job.id


def _waiting(service: Service, number: int) -> str:
    """A job whose first step is ready, and finds no slot."""
    job = service.submit({"n": number})
    until(lambda: service.steps(job.id).get("capture") is not None, story=lambda: service.story(job.id))
    assert service.steps(job.id)["capture"].state == "ready"
    return job.id


def test_a_job_that_waits_for_a_slot_is_canceled_in_less_than_a_second(tmp_path: Path) -> None:
    with site_in(tmp_path) as here:
        _busy(here)
        waiting = _waiting(here, 1)
        asked = time.monotonic()
        assert here.client.cancel(waiting).state == "canceled"
        assert time.monotonic() - asked < 1
        assert {step.state for step in here.steps(waiting).values()} == {"canceled"}


def test_a_job_that_nobody_has_planned_yet_is_canceled_in_less_than_a_second(tmp_path: Path) -> None:
    with site_in(tmp_path) as here:
        queued = here.submit({}, ring=False).id
        asked = time.monotonic()
        assert here.client.cancel(queued).state == "canceled"
        assert time.monotonic() - asked < 1


def test_a_job_that_is_hurried_while_its_steps_are_ready_goes_first(here: Service) -> None:
    running = _busy(here)
    first, second, third = (_waiting(here, number) for number in range(3))
    with here.database.begin() as tx:
        jobs.set_priority(tx, third, 0)
        jobs.request_cancel(tx, running)
    ended = [here.ended(job_id) for job_id in (first, second, third)]
    assert [job.state for job in ended] == ["succeeded"] * 3
    begun = {job_id: here.steps(job_id)["capture"].started_at or 0.0 for job_id in (first, second, third)}
    assert sorted(begun, key=lambda job_id: begun[job_id]) == [third, first, second]
