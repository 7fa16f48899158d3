"""Any process may be killed at any moment: every accepted job still ends, exactly once."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from typing import Any

from burnish.errors import Unavailable
from storage import checkpoints
from tests.acceptance.service import Service, until
from workers.process_tree import descendants

SLOW: dict[str, Any] = {"pass:quantize": {"seconds": 2.0}}


def _ends(service: Service, job_id: str) -> list[str]:
    kinds = [event.kind for event in service.events(job_id)]
    return [kind for kind in kinds if kind in ("job.succeeded", "job.failed", "job.canceled")]


def _running(service: Service, job_id: str, step: str) -> int:
    """Process id of a step, once it runs."""
    until(lambda: service.pid(job_id, step=step) is not None, story=lambda: service.story(job_id))
    pid = service.pid(job_id, step=step)
    assert pid is not None
    return pid


def _freeze(service: Service, worker: int) -> list[int]:
    """Stops a worker and all below it, and gives their ids. Not in a transaction that writes: on SQLite nobody else
    could write then, before it goes on."""
    while True:
        everything = descendants(worker)
        for pid in everything:
            os.kill(pid, signal.SIGSTOP)
        try:
            with service.database.begin():
                return everything
        except Unavailable:
            for pid in reversed(everything):
                os.kill(pid, signal.SIGCONT)


def test_the_steps_of_a_killed_worker_are_run_by_another(anywhere: Service) -> None:
    worker = anywhere.start_worker(name="killed")
    anywhere.start_tick()
    job = anywhere.submit(SLOW)
    child = _running(anywhere, job.id, "quantize")
    worker.kill()
    until(lambda: not os.path.exists(f"/proc/{child}"), 5.0)
    anywhere.start_worker(name="heir")
    assert anywhere.ended(job.id).state == "succeeded"
    assert _ends(anywhere, job.id) == ["job.succeeded"]
    assert anywhere.steps(job.id)["quantize"].attempt == 2


def test_a_step_that_jobs_share_is_taken_over_for_all_of_them_when_its_worker_is_killed(anywhere: Service) -> None:
    killed = anywhere.start_worker(name="killed")
    anywhere.start_tick()
    jobs = [anywhere.submit({"pass:quantize": {"seconds": 4.0}}) for _ in range(4)]
    shared = [partial(anywhere.state, job.id, "quantize") for job in jobs]
    until(lambda: {state() for state in shared} == {"leased"}, 60, lambda: anywhere.story(jobs[0].id))
    killed.kill()
    anywhere.start_worker(name="heir")
    for job in jobs:
        assert anywhere.ended(job.id, 120.0).state == "succeeded"
        assert _ends(anywhere, job.id) == ["job.succeeded"]
        assert anywhere.steps(job.id)["quantize"].attempt == 2
        told = [event.data.get("attempt") for event in anywhere.events(job.id) if event.kind == "step.done"]
        assert told.count(2) >= 1


def test_a_frozen_worker_loses_its_step_and_writes_nothing_later(anywhere: Service) -> None:
    frozen = anywhere.start_worker(name="frozen")
    anywhere.start_tick()
    job = anywhere.submit(SLOW)
    _running(anywhere, job.id, "quantize")
    everything = _freeze(anywhere, frozen.pid)
    anywhere.start_worker(name="heir")
    until(lambda: anywhere.steps(job.id)["quantize"].attempt == 2, story=lambda: anywhere.story(job.id))
    for pid in reversed(everything):
        os.kill(pid, signal.SIGCONT)
    until(lambda: "was lost" in (anywhere.folder / "frozen.log").read_text(), story=lambda: anywhere.story(job.id))
    assert anywhere.ended(job.id).state == "succeeded"
    assert _ends(anywhere, job.id) == ["job.succeeded"]
    assert anywhere.steps(job.id)["quantize"].attempt == 2


def test_a_step_whose_process_is_killed_is_tried_again(running: Service) -> None:
    job = running.submit({**SLOW, "for": "killed"})
    os.kill(_running(running, job.id, "quantize"), signal.SIGKILL)
    assert running.ended(job.id).state == "succeeded"
    step = running.steps(job.id)["quantize"]
    assert step.attempt == 2
    assert [reason["error"]["code"] for reason in step.reasons or []] == ["resource.memory"]


def test_a_step_that_is_killed_three_times_fails_its_job_with_three_reasons(running: Service) -> None:
    job = running.ended(running.submit({"pass:quantize": {"end": "SIGKILL"}}).id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "resource.memory"
    assert job.error["step"] == "quantize"
    reasons = running.steps(job.id)["quantize"].reasons or []
    assert [reason["error"]["details"]["exit_status"] for reason in reasons] == [-9, -9, -9]
    assert all("pid" in reason["error"]["details"]["log_tail"] for reason in reasons)


def test_the_zygote_may_be_killed(here: Service) -> None:
    worker = here.start_worker()
    here.start_tick()
    job = here.submit(SLOW)
    child = _running(here, job.id, "quantize")
    zygote = next(pid for pid in descendants(worker.pid) if child in descendants(pid)[1:] and pid != worker.pid)
    os.kill(zygote, signal.SIGKILL)
    assert here.ended(job.id).state == "succeeded"
    assert here.steps(job.id)["quantize"].attempt == 2


def test_a_broker_that_comes_back_without_its_data_loses_no_job(anywhere: Service) -> None:
    anywhere.start_worker(slots=1)
    anywhere.start_tick()
    running = anywhere.submit(SLOW)
    _running(anywhere, running.id, "quantize")
    anywhere.broker.kill()
    anywhere.broker.wait()
    unheard = anywhere.submit({"n": 1}, ring=False)
    anywhere.start_broker()
    for job in (running, unheard):
        assert anywhere.ended(job.id).state == "succeeded", anywhere.story(job.id)
        assert _ends(anywhere, job.id) == ["job.succeeded"]


def test_doorbells_that_the_broker_lost_are_rung_again(here: Service) -> None:
    here.start_tick()
    jobs = [here.submit({"n": number}) for number in range(3)]
    until(lambda: "burnish:mark" in here.broker_keys())
    here.wipe_broker()
    here.start_worker()
    for job in jobs:
        assert here.ended(job.id, 30).state == "succeeded"


def test_ticks_and_their_death_change_nothing(here: Service) -> None:
    one, _ = here.start_tick(), here.start_tick()
    here.start_worker()
    job = here.submit(SLOW)
    _running(here, job.id, "quantize")
    one.kill()
    assert here.ended(job.id).state == "succeeded"
    assert {step.attempt for step in here.steps(job.id).values()} == {1}


def test_a_worker_that_is_asked_to_stop_gives_back_what_it_can_not_finish(here: Service) -> None:
    worker = here.start_worker("0.3", name="stopped")
    here.start_tick()
    job = here.submit({"pass:quantize": {"seconds": 3.0}})
    _running(here, job.id, "quantize")
    asked = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    assert time.monotonic() - asked < 6
    step = here.steps(job.id)["quantize"]
    assert (step.state, step.failures) == ("ready", 0)
    here.start_worker(name="heir")
    assert here.ended(job.id).state == "succeeded"


def test_a_worker_that_is_asked_to_stop_finishes_what_it_can(here: Service) -> None:
    worker = here.start_worker("20", name="stopped")
    here.start_tick()
    job = here.submit(SLOW)
    _running(here, job.id, "quantize")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=15) == 0
    step = here.steps(job.id)["quantize"]
    assert (step.state, step.attempt) == ("done", 1)


def test_a_step_that_left_a_checkpoint_goes_on_from_there_on_another_worker(anywhere: Service) -> None:
    killed = anywhere.start_worker(name="killed")
    anywhere.start_tick()
    job = anywhere.submit({"pass:quantize": {"count": 100}})
    _running(anywhere, job.id, "quantize")
    key = anywhere.steps(job.id)["quantize"].key

    def kept() -> bool:
        with anywhere.database.read() as tx:
            return checkpoints.of(tx, str(key)) is not None

    until(kept, story=lambda: anywhere.story(job.id))
    killed.kill()
    anywhere.start_worker(name="heir")
    assert anywhere.ended(job.id).state == "succeeded"
    lines = [event.data["line"] for event in anywhere.events(job.id) if event.kind == "log"]
    counts = [int(line.rpartition(" ")[2]) for line in lines if line.startswith("counts from")]
    assert len(counts) == 2
    assert 0 == counts[0] < counts[1] <= 100
    assert not kept()
