"""Jobs from submission to verdict, through real processes."""

from __future__ import annotations

import signal

from sqlalchemy import select

from storage.figures import figures
from storage.tables import computations
from tests.acceptance.service import QUANTIZE, Service, until
from workers.variants import AS_IS


def test_a_job_runs_from_its_submission_to_its_verdict(anywhere: Service) -> None:
    worker = anywhere.start_worker()
    anywhere.start_tick()
    job = anywhere.ended(anywhere.submit({}).id)
    assert job.state == "succeeded", anywhere.story(job.id)
    assert job.verdict is not None
    assert {each["name"] for each in job.verdict["candidates"]} == {
        "eager", "compiled", f"{AS_IS}@inductor", "quantize@inductor",
    }  # fmt: skip
    assert {step.state for step in anywhere.steps(job.id).values()} == {"done"}
    assert not list((anywhere.settings.data / "scratch").glob("wrk_*/*-1"))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    with anywhere.database.read() as tx:
        calls = figures(tx).worker_calls
    assert {"sql", "fetch", "put_file"} <= calls.keys()
    assert calls["sql"].seconds > 0


def test_an_identical_job_is_all_hits_and_ends_in_a_moment(anywhere: Service) -> None:
    anywhere.start_worker()
    anywhere.start_tick()
    first = anywhere.ended(anywhere.submit({}).id)
    second = anywhere.ended(anywhere.submit({}).id)
    assert (first.state, second.state) == ("succeeded", "succeeded")
    assert all(step.hit for step in anywhere.steps(second.id).values())
    assert second.verdict == first.verdict
    assert second.finished_at is not None
    assert second.finished_at - second.created_at < 0.3


def test_ten_jobs_with_the_same_steps_compute_each_of_them_once(anywhere: Service) -> None:
    anywhere.start_worker(name="one")
    anywhere.start_worker(name="two")
    anywhere.start_tick()
    script = {"pass:quantize": {"seconds": 1.0}}
    jobs = [anywhere.submit(script) for _ in range(10)]
    assert [anywhere.ended(job.id).state for job in jobs] == ["succeeded"] * 10
    keys = [{name: step.key for name, step in anywhere.steps(job.id).items()} for job in jobs]
    assert all(each == keys[0] for each in keys)
    with anywhere.database.read() as tx:
        computed = tx.execute(select(computations.c.key, computations.c.attempt)).all()
    assert sorted(row.key for row in computed) == sorted(set(keys[0].values()))
    assert {row.attempt for row in computed} == {1}


def test_jobs_that_wait_for_a_shared_step_take_no_slot(here: Service) -> None:
    here.start_worker(slots=2)
    here.start_tick()
    sharing = [here.submit({"pass:quantize": {"seconds": 600}}) for _ in range(10)]
    until(
        lambda: all(here.state(job.id, "quantize") == "leased" for job in sharing),
        60,
        lambda: here.story(sharing[0].id),
    )
    other = here.submit({"n": 1})
    until(lambda: here.state(other.id, "quantize") == "done", 60, lambda: here.story(other.id))
    assert {here.state(job.id, "quantize") for job in sharing} == {"leased"}


def test_a_changed_setting_recomputes_only_what_depends_on_it(running: Service) -> None:
    running.ended(running.submit({"for": "setting"}).id)
    changed = {**QUANTIZE, "passes": [{"quantize": {"calibration": "minmax"}}]}
    job = running.ended(running.submit({"for": "setting"}, changed).id)
    steps = running.steps(job.id)
    # The pre-flight is of the whole chain; what comes after `quantize` hits, since its output is the same again.
    assert {name for name, step in steps.items() if not step.hit} == {"preflight", "quantize"}
    assert (steps["quantize"].why or {})["differs"] == ["settings.calibration"]


def test_a_step_runs_without_network_secrets_or_foreign_files(running: Service) -> None:
    probe = {"capture": {"probe": [str(running.settings.data / "burnish.sqlite")]}}
    job = running.ended(running.submit(probe).id)
    found = (running.steps(job.id)["capture"].report or {})["probe"]
    assert found["files"] == [False]
    assert found["network"] is False
    assert not [name for name in found["environment"] if name.startswith(("BURNISH", "AWS"))]


def test_a_step_that_must_be_alone_waits_for_others_and_keeps_new_ones_out(running: Service) -> None:
    one = running.submit({"measure": {"seconds": 1.0}, "n": 1})
    two = running.submit({"capture": {"seconds": 2.0}, "lower": {"seconds": 0.5}, "n": 2})
    for job in (one, two):
        assert running.ended(job.id).state == "succeeded"
    spans = [
        (float(report["began"]), float(report["ended"]), step.op)
        for job in (one, two)
        for step in running.steps(job.id).values()
        if (report := step.report) is not None
    ]
    for began, ended, op in spans:
        if op == "measure":
            beside = [span for span in spans if span[2] != "measure" and span[0] < ended and span[1] > began]
            assert beside == []
