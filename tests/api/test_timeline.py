"""The timeline of steps: made from events, in units of its drawing."""

from __future__ import annotations

from datetime import UTC, datetime

from api.timeline import Bar, Timeline, timeline
from burnish.recipe import JobSpec
from burnish.resources import JobResource, StepResource
from storage.records import Event


def step(name: str, *, hit: bool = False) -> StepResource:
    return StepResource(
        name=name, op=name, state="done", key="k", hit=hit, why=None, attempt=1, progress=1.0, doing=None, worker=None,
        started_at=None, seconds=1.0, peak_memory=None, report={}, error=None,
    )  # fmt: skip


def job(*steps: StepResource, finished: float | None = 100.0) -> JobResource:
    return JobResource(
        id="job_1", state="succeeded", model="net:1", dataset="d", priority=5, outcome=None, speedup=None, drop=None,
        created_at=datetime.fromtimestamp(0, UTC), started_at=None,
        finished_at=datetime.fromtimestamp(finished, UTC) if finished is not None else None, links={},
        spec=JobSpec(model="m", dataset="d"), model_id="m", dataset_id="d", progress=1.0, steps=steps, verdict=None,
        artifacts=(), error=None,
    )  # fmt: skip


def drawn(kinds: list[tuple[float, str]], *steps: StepResource, finished: float | None = 100.0) -> Timeline:
    moves = [Event(job_id="job_1", id=1, at=0.0, kind="job.queued", step=None, data={})]
    moves += [
        Event(job_id="job_1", id=number, at=at, kind=f"step.{kind}", step="one", data={})
        for number, (at, kind) in enumerate(kinds, 2)
    ]
    return timeline(job(*(steps or (step("one"),)), finished=finished), moves, now=50.0)


def test_a_step_waits_from_ready_to_leased_and_runs_from_there_to_done() -> None:
    row = drawn([(10, "ready"), (30, "leased"), (60, "done")]).rows[0]
    assert row.bars == (Bar(100.0, 200.0, "waited"), Bar(300.0, 300.0, "ran"))
    assert row.words == "waited 20 s, ran 30 s"
    assert row.hit_at is None


def test_an_attempt_that_failed_is_told_from_the_one_that_worked() -> None:
    row = drawn([(0, "leased"), (20, "retry"), (30, "leased"), (60, "done")]).rows[0]
    assert [(bar.doing, bar.width) for bar in row.bars] == [("lost", 200.0), ("waited", 100.0), ("ran", 300.0)]
    failed = drawn([(0, "leased"), (20, "failed")]).rows[0]
    assert [bar.doing for bar in failed.bars] == ["lost"]


def test_a_hit_is_a_mark_and_has_no_bar() -> None:
    row = drawn([(40, "done")], step("one", hit=True)).rows[0]
    assert (row.bars, row.hit_at, row.words) == ((), 400.0, "")


def test_what_still_runs_goes_on_to_the_present() -> None:
    row = drawn([(10, "leased")], finished=None).rows[0]
    assert row.bars == (Bar(200.0, 800.0, "ran"),)


def test_the_shortest_bar_can_still_be_seen() -> None:
    assert drawn([(10, "leased"), (10.001, "done")]).rows[0].bars[0].width == 3.0


def test_only_what_came_after_the_last_queuing_counts() -> None:
    moves = [
        Event(job_id="job_1", id=id, at=at, kind=kind, step=name, data={})
        for id, at, kind, name in (
            (1, 0.0, "job.queued", None), (2, 10.0, "step.leased", "one"), (3, 20.0, "step.failed", "one"),
            (4, 50.0, "job.queued", None), (5, 50.0, "step.leased", "one"), (6, 100.0, "step.done", "one"),
        )
    ]  # fmt: skip
    shown = timeline(job(step("one")), moves, now=0.0)
    assert shown.rows[0].bars == (Bar(0.0, 1000.0, "ran"),)
    assert (shown.ticks[0], shown.ticks[2], shown.ticks[-1]) == ("0", "25 s", "50 s")


def test_without_any_event_there_are_rows_without_bars() -> None:
    assert timeline(job(step("one")), [], now=1.0).rows[0].bars == ()
