"""What the tick does for schedules; several ticks at once make one job."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from burnish.errors import Unavailable
from storage import schedules
from storage.database import Database
from tests.storage.schedule_scene import ScheduleScene
from workers.schedules import Scheduler

ROOT = Path(__file__).parents[3]


def once(scene: ScheduleScene) -> list[str]:
    """One round of a tick that has just started; what came of each schedule."""
    return [firing.outcome for firing in Scheduler(scene.database).once()]


def test_nothing_is_fired_before_its_time_and_once_then(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    assert once(scene) == []
    scene.clock.pass_(3600)
    assert (once(scene), once(scene)) == (["fired"], [])
    assert scene.now(schedule).next_at == scene.clock.now + 3600
    (firing,) = scene.history(schedule)
    assert (firing.cause, firing.due_at) == ("every", scene.clock.now)
    assert firing.reason == "It was due at 1970-01-12T14:46:40Z."


def test_what_was_missed_is_caught_up_once(scene: ScheduleScene) -> None:
    schedule = scene.schedule()
    scene.clock.pass_(5.5 * 3600)
    assert (once(scene), once(scene)) == (["fired"], [])
    (firing,) = scene.history(schedule)
    assert "it was due 4 times more, and this is for all" in firing.reason
    assert scene.now(schedule).next_at == schedule.anchor + 6 * 3600
    assert len(scene.jobs()) == 1


def test_a_firing_that_waited_starts_when_the_job_before_has_ended(scene: ScheduleScene) -> None:
    schedule = scene.schedule(overlap="queue")
    for expected in ("fired", "waiting"):
        scene.clock.pass_(3600)
        assert once(scene) == [expected]
    assert once(scene) == []
    scene.end(scene.history(schedule)[1].job_id)
    assert once(scene) == ["fired"]
    assert len(scene.jobs()) == 2


def test_news_fire_once(scene: ScheduleScene) -> None:
    schedule = scene.schedule(trigger={"on": "model"})
    assert once(scene) == []
    scene.model()
    assert (once(scene), once(scene)) == (["fired"], [])
    (firing,) = scene.history(schedule)
    assert (firing.cause, firing.reason) == ("model", "Version 2 of the model was uploaded.")
    assert scene.job(firing.job_id).model == "net:2"


def test_occasions_are_looked_at_every_few_seconds(scene: ScheduleScene) -> None:
    now = [0.0]
    scheduler = Scheduler(scene.database, clock=lambda: now[0])
    scene.schedule(trigger={"on": "dataset"})
    assert scheduler.once() == []
    scene.dataset()
    assert scheduler.once() == []
    now[0] += 3.0
    assert [firing.outcome for firing in scheduler.once()] == ["fired"]


def test_a_paused_schedule_has_no_news(scene: ScheduleScene) -> None:
    schedule = scene.schedule(trigger={"on": "model"})
    with scene.database.begin() as tx:
        schedules.pause(tx, schedule.id)
    scene.model()
    assert once(scene) == []


def test_a_schedule_that_breaks_does_not_keep_the_others_from_firing(
    scene: ScheduleScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound = scene.schedule(name="broken"), scene.schedule(name="sound")
    scene.clock.pass_(3600)
    from workers import schedules as module

    fire = module.fire

    def failing(tx: object, schedule: schedules.Schedule, cause: object) -> object:
        if schedule.id == broken.id:
            raise ZeroDivisionError("by test")
        return fire(tx, schedule, cause)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "fire", failing)
    assert sorted(once(scene)) == ["fired", "skipped"]
    assert once(scene) == []
    assert scene.history(broken)[0].reason == "It failed, by a fault of Burnish: by test"
    assert scene.history(sound)[0].outcome == "fired"


def test_a_spec_of_another_version_stops_no_tick(scene: ScheduleScene) -> None:
    timed, waiting = scene.schedule(), scene.schedule(name="waiting", trigger={"on": "model"})
    for schedule in (timed, waiting):
        scene.rewrite(schedule, overlap="never")
    scene.clock.pass_(3600)
    scene.model()
    assert once(scene) == ["skipped"]
    assert (scene.history(timed)[0].cause, scene.history(waiting)) == ("every", [])


@pytest.mark.parametrize(
    ("trigger", "where"),
    [
        ({"every": 3600, "moon": "full"}, "/trigger/moon: There is no setting 'moon' here."),
        ({"cron": "@full-moon"}, "/trigger/cron: '@full-moon' is no cron expression"),
        ({"cron": "0 3 * * *", "timezone": "Luna/Tycho"}, "/trigger/timezone: There is no time zone 'Luna/Tycho'."),
        (None, "/trigger: "),
        ("dawn", "/trigger: "),
    ],
    ids=str,
)
def test_a_trigger_of_another_version_is_told_in_the_history_and_looked_at_again(
    scene: ScheduleScene, trigger: object, where: str
) -> None:
    odd, sound = scene.schedule(name="odd"), scene.schedule(name="sound")
    scene.rewrite(odd, trigger=trigger)
    scene.clock.pass_(3600)
    assert sorted(once(scene)) == ["fired", "skipped"]
    assert scene.history(sound)[0].outcome == "fired"
    (told,) = scene.history(odd)
    assert (told.cause, where in told.reason) == ("unknown", True)
    assert once(scene) == []
    scene.clock.pass_(3600)
    assert len(once(scene)) == 2
    assert len(scene.history(odd)) == 2


def test_read_again_by_the_version_that_wrote_it_it_fires(scene: ScheduleScene) -> None:
    odd = scene.schedule()
    scene.rewrite(odd, moon="full")
    scene.clock.pass_(3600)
    assert once(scene) == ["skipped"]
    scene.rewrite(odd)
    scene.clock.pass_(3600)
    assert once(scene) == ["fired"]


def test_of_many_threads_that_tick_at_once_one_makes_the_job(scene: ScheduleScene) -> None:
    timed = [scene.schedule(name=f"timed {n}") for n in range(3)]
    scene.schedule(name="news", trigger={"on": "model"})
    scene.model()
    for round_ in range(1, 6):
        scene.clock.pass_(3600)
        assert _tick_at_once(scene, 6) == len(timed) + (round_ == 1)
        for schedule in timed:
            history = scene.history(schedule)
            assert len(history) == round_
            scene.end(history[0].job_id)


def _tick_at_once(scene: ScheduleScene, threads: int) -> int:
    """How many firings so many ticks make that start at one signal."""
    start = threading.Barrier(threads)

    def tick() -> int:
        start.wait(30)
        return len(Scheduler(scene.database).once())

    with ThreadPoolExecutor(threads) as pool:
        return sum(future.result(60) for future in [pool.submit(tick) for _ in range(threads)])


_TICK = """
import sys
from storage.database import Database
from workers.schedules import Scheduler

database = Database(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    print(len(Scheduler(database).once()), flush=True)
"""


def test_of_two_processes_that_tick_at_once_one_makes_the_job(database_url: str, scene: ScheduleScene) -> None:
    """On the database's own clock: what is due was set in the past."""
    names = [f"timed {n}" for n in range(10)]
    for name in names:
        scene.schedule(name=name)  # the test's clock is far behind the database's: all of them are due
    command = [sys.executable, "-c", _TICK, database_url]
    ticks = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(2)
    ]
    try:
        assert [_read(tick) for tick in ticks] == ["ready", "ready"]
        for tick in ticks:
            assert tick.stdin is not None
            tick.stdin.write("once\n")
            tick.stdin.flush()
        assert sum(int(_read(tick)) for tick in ticks) == len(names)
    finally:
        for tick in ticks:
            tick.communicate(timeout=30)
    assert len(scene.jobs()) == len(names)


def _read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_without_a_database_the_round_says_so(tmp_path: Path) -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Unavailable):
        Scheduler(database).once()
    database.close()
