"""From a schedule that is due to a job, or to the reason why there is none."""

from __future__ import annotations

import pytest

from storage import firings, models, schedules
from storage.database import Database
from storage.firing import fire_waiting
from tests.storage.scene import Clock
from tests.storage.schedule_scene import ScheduleScene


@pytest.fixture
def scene(database: Database, clock: Clock) -> ScheduleScene:
    return ScheduleScene(database, clock)


def test_a_job_is_made_of_what_is_newest_now(scene: ScheduleScene) -> None:
    schedule = scene.schedule(job={"model": "net", "dataset": "samples", "priority": 2})
    scene.model()
    data = scene.dataset()
    firing = scene.fire(schedule, "It was due.")
    job = scene.job(firing.job_id)
    assert (firing.outcome, firing.reason, firing.contest) == ("fired", "It was due.", None)
    assert (job.state, job.model, job.dataset_id, job.priority) == ("queued", "net:2", data.id, 2)
    assert scene.now(schedule).last_job_id == job.id
    with scene.database.read() as tx:
        assert firings.of_job(tx, job.id) == firing


def test_by_skip_nothing_is_made_while_the_job_before_has_not_ended(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    first = scene.fire(schedule)
    second = scene.fire(schedule)
    assert (second.outcome, second.job_id) == ("skipped", None)
    assert str(first.job_id) in second.reason
    scene.end(first.job_id)
    assert scene.fire(schedule).outcome == "fired"


def test_by_queue_one_waits_and_starts_when_the_job_before_has_ended(scene: ScheduleScene) -> None:
    schedule = scene.schedule(overlap="queue")
    first, second, third = (scene.fire(schedule) for _ in range(3))
    assert (second.outcome, third.outcome) == ("waiting", "skipped")
    with scene.database.read() as tx:
        assert firings.freed(tx) == []
    scene.end(first.job_id)
    with scene.database.read() as tx:
        (freed,) = firings.freed(tx)
    with scene.database.begin() as tx:
        present = schedules.get(tx, schedule.id)
        assert schedules.take(tx, present)
        started = fire_waiting(tx, present, freed)
    assert (started.id, started.outcome) == (second.id, "fired")
    assert scene.job(started.job_id).state == "queued"


def test_by_cancel_previous_the_job_before_is_canceled(scene: ScheduleScene) -> None:
    schedule = scene.schedule(overlap="cancel_previous")
    first, second = scene.fire(schedule), scene.fire(schedule)
    assert scene.job(first.job_id).state == "canceled"
    assert scene.job(second.job_id).state == "queued"
    assert f"Job {first.job_id} was canceled for it." in second.reason


def test_where_names_stand_for_nothing_it_is_skipped_with_the_reason(scene: ScheduleScene) -> None:
    schedule = scene.schedule(job={"model": "none", "dataset": "samples"})
    assert scene.fire(schedule).reason == "There is no model none."


def test_data_that_does_not_fit_any_more_is_a_reason_to_skip(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    scene.dataset(features=5)
    firing = scene.fire(schedule)
    assert firing.outcome == "skipped"
    assert "does not fit net:1" in firing.reason
    assert scene.jobs() == []


def test_a_spec_of_another_version_is_a_reason_to_skip(scene: ScheduleScene) -> None:
    firing = scene.fire(scene.rewrite(scene.schedule(), overlap="never"))
    assert firing.outcome == "skipped"
    assert "another version of Burnish wrote parts of it that this one can't read. /overlap: " in firing.reason
    assert "delete the schedule and create it again" in firing.reason
    assert scene.jobs() == []


def test_the_champion_of_the_moment_is_noted(scene: ScheduleScene) -> None:
    schedule = scene.schedule(promote="production")
    none = scene.fire(schedule)
    assert none.contest == {"kind": "optimize", "model": "net", "alias": "production", "champion": None}
    entry = scene.alias()
    scene.end(none.job_id)
    contest = scene.fire(schedule).contest
    assert contest is not None
    assert contest["champion"]["entry"] == entry.id
    assert contest["champion"]["artifact"]["digest"] == entry.digest


def test_a_remeasurement_is_of_the_version_that_the_champion_was_made_from(scene: ScheduleScene) -> None:
    schedule = scene.schedule(kind="remeasure")
    missing = scene.fire(schedule)
    assert (missing.outcome, "no champion" in missing.reason) == ("skipped", True)
    scene.alias()
    scene.model()
    firing = scene.fire(schedule)
    assert scene.job(firing.job_id).model == "net:1"
    with scene.database.read() as tx:
        assert models.resolve(tx, "net").version == 2
    assert firing.contest is not None
    assert firing.contest["kind"] == "remeasure"
