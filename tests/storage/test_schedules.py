"""Schedules as rows: made, changed, paused, due; and what is new for those that wait for an occasion."""

from __future__ import annotations

import pytest

from burnish.errors import Conflict, NotFound
from storage import firings, occasions, schedules
from storage.database import Database
from storage.occasions import Look
from storage.schedules import Schedule
from tests.storage.scene import Clock
from tests.storage.schedule_scene import ScheduleScene, spec


@pytest.fixture
def scene(database: Database, clock: Clock) -> ScheduleScene:
    return ScheduleScene(database, clock)


def due(scene: ScheduleScene) -> list[str]:
    with scene.database.read() as tx:
        return [schedule.name for schedule in schedules.due(tx)]


def news(scene: ScheduleScene, schedule: Schedule) -> tuple[str, Look] | None:
    with scene.database.read() as tx:
        look = occasions.look(tx, spec(**schedule.spec))
    assert look is not None
    return occasions.news(schedule.seen, look)


def test_a_schedule_is_due_when_its_time_has_come(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    assert (schedule.state, schedule.next_at) == ("active", scene.clock.now + 3600)
    scene.clock.pass_(3599)
    assert due(scene) == []
    scene.clock.pass_(1)
    assert due(scene) == ["nightly"]


def test_it_is_found_by_id_and_by_name(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    with scene.database.read() as tx:
        assert schedules.get(tx, schedule.id) == schedules.get(tx, "nightly") == schedule
        with pytest.raises(NotFound):
            schedules.get(tx, "weekly")


def test_two_schedules_have_two_names(scene: ScheduleScene) -> None:
    scene.schedule()
    with pytest.raises(Conflict, match="already"):
        scene.schedule()
    other = scene.schedule(name="weekly")
    with scene.database.begin() as tx, pytest.raises(Conflict, match="already"):
        schedules.change(tx, other.id, spec(name="nightly"))


def test_a_new_trigger_counts_from_now_and_other_changes_do_not_move_it(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    scene.clock.pass_(600)
    with scene.database.begin() as tx:
        same = schedules.change(tx, schedule.id, spec(overlap="queue"))
    assert (same.next_at, same.spec["overlap"]) == (schedule.next_at, "queue")
    with scene.database.begin() as tx:
        moved = schedules.change(tx, schedule.id, spec(trigger={"every": 7200}))
    assert moved.next_at == scene.clock.now + 7200
    assert moved.revision > same.revision > schedule.revision


def test_a_paused_schedule_is_not_due_and_resumed_it_does_not_catch_up(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    with scene.database.begin() as tx:
        assert schedules.pause(tx, schedule.id).next_at is None
    scene.clock.pass_(3 * 3600 + 60)
    assert due(scene) == []
    with scene.database.begin() as tx:
        resumed = schedules.resume(tx, schedule.id)
    assert resumed.next_at == schedule.created_at + 4 * 3600
    assert due(scene) == []


def test_pausing_and_resuming_twice_changes_nothing_more(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    with scene.database.begin() as tx:
        assert schedules.resume(tx, schedule.id) == schedule
        paused = schedules.pause(tx, schedule.id)
        assert schedules.pause(tx, schedule.id) == paused


def test_changed_while_paused_it_stays_paused(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    with scene.database.begin() as tx:
        schedules.pause(tx, schedule.id)
        changed = schedules.change(tx, schedule.id, spec(trigger={"every": 60}))
    assert (changed.state, changed.next_at) == ("paused", None)


def test_pausing_drops_what_waits(scene: ScheduleScene) -> None:
    schedule = scene.schedule(overlap="queue")
    scene.fire(schedule)
    assert scene.fire(schedule).outcome == "waiting"
    with scene.database.begin() as tx:
        schedules.pause(tx, schedule.id)
    last = scene.history(schedule)[0]
    assert (last.outcome, last.reason) == ("skipped", "The schedule was paused while it waited.")


def test_deleted_it_is_gone_with_its_history_and_its_jobs_stay(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    job_id = scene.fire(schedule).job_id
    with scene.database.begin() as tx:
        schedules.remove(tx, schedule.id)
    assert scene.job(job_id).state == "queued"
    with scene.database.read() as tx:
        assert schedules.list_(tx, after=None, limit=10) == []
        assert firings.of_job(tx, str(job_id)) is None


def test_lists_go_by_pages(scene: ScheduleScene) -> None:
    made = [scene.schedule(name=name).id for name in ("a", "b", "c")]
    with scene.database.read() as tx:
        first = schedules.list_(tx, after=None, limit=2)
        assert [each.id for each in first] == made[:0:-1]
        assert [each.id for each in schedules.list_(tx, after=first[-1].id, limit=2)] == made[:1]


def test_it_is_taken_once_as_it_was_read(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    with scene.database.begin() as tx:
        assert schedules.take(tx, schedule)
        assert not schedules.take(tx, schedule)


def test_a_new_version_is_news_once(scene: ScheduleScene) -> None:
    schedule = scene.schedule(trigger={"on": "model"})
    assert (schedule.next_at, news(scene, schedule)) == (None, None)
    scene.model("other")
    assert news(scene, schedule) is None
    scene.model()
    found = news(scene, schedule)
    assert found == ("Version 2 of the model was uploaded.", {"version": 2})
    with scene.database.begin() as tx:
        assert schedules.take(tx, schedule, seen=found[1])
    assert news(scene, scene.now(schedule)) is None


def test_new_data_is_news(scene: ScheduleScene) -> None:
    schedule = scene.schedule(trigger={"on": "dataset"})
    assert news(scene, schedule) is None
    data = scene.dataset()
    found = news(scene, schedule)
    assert found is not None
    assert data.id in found[0]


def test_a_worker_of_a_class_not_seen_before_is_news_and_one_that_comes_back_is_not(scene: ScheduleScene) -> None:
    scene.worker("wrk_1")
    schedule = scene.schedule(trigger={"on": "worker_class"})
    scene.worker("wrk_2")
    assert news(scene, schedule) is None
    scene.worker("wrk_3", isa=("avx2", "avx512f"))
    found = news(scene, schedule)
    assert found is not None
    assert "cpu with avx2 avx512f" in found[0]
    scene.clock.pass_(3600)
    scene.worker("wrk_4", isa=("avx2", "avx512f"))
    with scene.database.begin() as tx:
        schedules.take(tx, schedule, seen=found[1])
    assert news(scene, scene.now(schedule)) is None


def test_another_version_of_torch_is_news(scene: ScheduleScene) -> None:
    scene.worker()
    schedule = scene.schedule(trigger={"on": "toolchain"})
    assert news(scene, schedule) is None
    scene.worker(torch="2.14.0")
    found = news(scene, schedule)
    assert found is not None
    assert found[0] == "Workers are new: torch 2.14.0."
    assert found[1] == {"seen": ["torch 2.13.0", "torch 2.14.0"]}


def test_what_was_new_while_it_was_paused_is_not_caught_up(scene: ScheduleScene) -> None:
    schedule = scene.schedule(trigger={"on": "model"})
    with scene.database.begin() as tx:
        schedules.pause(tx, schedule.id)
    scene.model()
    with scene.database.begin() as tx:
        resumed = schedules.resume(tx, schedule.id)
    assert news(scene, resumed) is None


def test_one_of_another_version_is_neither_read_nor_resumed_until_its_parts_are_replaced(scene: ScheduleScene) -> None:
    odd = scene.rewrite(scene.schedule(), trigger={"every": 3600, "moon": "full"})
    assert (odd.trigger, [fault.where for fault in odd.faults()]) == (None, ["/trigger/moon"])
    with pytest.raises(Conflict, match="/trigger/moon") as refused:
        odd.read()
    assert "Update this service" in refused.value.cure
    for action in (lambda tx: None, lambda tx: schedules.pause(tx, odd.id)):  # active, then paused
        with scene.database.begin() as tx:
            action(tx)
        with scene.database.begin() as tx, pytest.raises(Conflict, match="/trigger/moon"):
            schedules.resume(tx, odd.id)
    with scene.database.begin() as tx:
        schedules.change(tx, odd.id, spec())
        assert schedules.resume(tx, odd.id).next_at == scene.clock.now + 3600


def test_a_readable_trigger_is_known_though_other_parts_are_not(scene: ScheduleScene) -> None:
    odd = scene.rewrite(scene.schedule(), overlap="never")
    assert odd.trigger == spec().trigger
    assert [fault.where for fault in odd.faults()] == ["/overlap"]
