"""Which doorbells are rung, and by whom; and what the tick makes of the broker's state."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import update

from burnish.errors import Unavailable
from burnish.settings import Settings
from storage import computations
from storage.database import Database
from storage.doorbell import Doorbell
from storage.succession import Found, Taker
from storage.tables import jobs, steps
from tests.workers.engine.scene import Scene
from workers.dispatch import FULL, REDISPATCH, following, ring, ring_jobs, ring_steps
from workers.faults import Faults
from workers.keys import KeyMaker
from workers.tick import Tick, serve


class Recorder(Doorbell):
    """A doorbell that is heard by the test alone."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self.heard: list[str] = []
        self.down = False
        self.held = 0

    def waiting(self, queue: str) -> int:
        return self.held

    def _ring(self, task: str, argument: str, queue: str, priority: int) -> None:
        if self.down:
            raise Unavailable("The broker is away.", cure="Wait.")
        self.heard.append(f"{task} {argument} {queue} {priority}")


class FakeBroker:
    """The one command that the tick sends to the broker itself."""

    def __init__(self) -> None:
        self.mark: str | None = None
        self.down = False

    def set(self, name: str, value: str, nx: bool) -> bool | None:
        if self.down:
            raise redis.ConnectionError("refused")
        if self.mark is not None:
            return None
        self.mark = value
        return True


@pytest.fixture
def scene(database: Database, keys: KeyMaker) -> Scene:
    return Scene(database, keys)


@pytest.fixture
def bell() -> Recorder:
    return Recorder()


def _ready(scene: Scene) -> tuple[str, str]:
    """A job, and the key of its step that is ready."""
    job_id = scene.submit()
    scene.take_up(job_id)
    return job_id, str(scene.steps(job_id)["capture"].key)


def test_a_ready_step_is_rung_for_once(database: Database, scene: Scene, bell: Recorder) -> None:
    _, key = _ready(scene)
    assert ring_steps(database, bell)
    assert ring_steps(database, bell)
    assert bell.heard == [f"burnish.step {key} cpu 5"]


def test_a_queued_job_is_rung_for_on_its_plan_queue(database: Database, scene: Scene, bell: Recorder) -> None:
    job_id = scene.submit()
    assert ring_jobs(database, bell)
    assert bell.heard == [f"burnish.plan {job_id} cpu.plan 5"]


def test_a_free_slot_takes_the_most_urgent_step_and_rings_for_the_rest(
    database: Database, scene: Scene, bell: Recorder
) -> None:
    job_id, _ = _ready(scene)
    scene.finish(job_id, "capture", "split")
    ready = {str(step.key) for step in scene.steps(job_id).values() if step.state == "ready"}
    found = _follow(database, bell, "cpu")
    assert found.taken is not None
    mine = found.taken.claim.key
    assert mine in ready
    assert scene.computation(mine).state == "leased"
    assert sorted(line.split()[1] for line in bell.heard) == sorted(ready - {mine})


def test_a_free_slot_leaves_a_step_of_another_queue_to_others(database: Database, scene: Scene, bell: Recorder) -> None:
    _, key = _ready(scene)
    assert _follow(database, bell, "cuda") == (None, None)
    assert bell.heard == [f"burnish.step {key} cpu 5"]


def test_a_free_slot_finds_nothing_when_nothing_is_ready(database: Database, bell: Recorder) -> None:
    assert _follow(database, bell, "cpu") == (None, None)


def _follow(database: Database, bell: Recorder, queue: str) -> Found:
    with database.begin() as tx:
        found = following(tx, Taker("w", (queue,), 30.0, lambda claim: True))
    assert ring(bell, found.due)
    return found.found


def test_a_free_slot_rings_for_nothing_twice(database: Database, scene: Scene, bell: Recorder) -> None:
    _ready(scene)
    database = Database(str(database.url), lambda: time.time() + 2 * REDISPATCH)
    assert ring_steps(database, bell)
    _follow(database, bell, "cuda")
    assert len(bell.heard) == 1
    database.close()


def test_a_queue_that_is_full_gets_no_more(database: Database, scene: Scene, bell: Recorder) -> None:
    _, key = _ready(scene)
    job_id = scene.submit()
    bell.held = FULL
    assert ring_steps(database, bell)
    assert ring_jobs(database, bell)
    assert bell.heard == []
    bell.held = FULL - 1
    later = Database(str(database.url), lambda: time.time() + 2 * REDISPATCH)
    assert ring_steps(later, bell)
    assert ring_jobs(later, bell)
    later.close()
    assert bell.heard == [f"burnish.step {key} cpu 5", f"burnish.plan {job_id} cpu.plan 5"]


def test_a_broker_that_is_away_is_told_by_the_answer(database: Database, scene: Scene, bell: Recorder) -> None:
    _ready(scene)
    scene.submit()
    bell.down = True
    assert not ring_steps(database, bell)
    assert not ring_jobs(database, bell)


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def tick(database: Database, bell: Recorder, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> Tick:
    monkeypatch.setattr("workers.tick.redis.Redis.from_url", lambda *_, **__: broker)
    return Tick(database, bell, "redis://127.0.0.1:1/0")


def test_the_tick_rings_for_what_is_due_and_then_keeps_quiet(tick: Tick, scene: Scene, bell: Recorder) -> None:
    job_id = scene.submit()
    tick.once()
    tick.once()
    assert bell.heard == [f"burnish.plan {job_id} cpu.plan 5"]


def test_the_tick_rings_again_for_everything_when_the_broker_lost_its_data(
    tick: Tick, scene: Scene, bell: Recorder, broker: FakeBroker
) -> None:
    job_id = scene.submit()
    tick.once()
    broker.mark = None
    tick.once()
    assert bell.heard == [f"burnish.plan {job_id} cpu.plan 5"] * 2


def test_all_that_a_broker_lost_is_rung_for_in_a_few_rounds_the_most_urgent_first(
    tick: Tick, scene: Scene, bell: Recorder, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = [scene.submit() for _ in range(5)]
    tick.once()
    monkeypatch.setattr("workers.dispatch._A_ROUND", 2)
    broker.mark, bell.heard = None, []
    for _ in range(4):
        tick.once()
    assert bell.heard == [f"burnish.plan {job_id} cpu.plan 5" for job_id in submitted]


def test_a_stuck_job_is_rung_for_once_not_in_each_round(tick: Tick, scene: Scene, bell: Recorder) -> None:
    job_id, key = _ready(scene)
    with scene.database.begin() as tx:
        tx.execute(update(steps).where(steps.c.key == key).values(state="waiting", key=None))
        computations.abandon(tx, key)
    for _ in range(5):
        tick.once()
    assert bell.heard == [f"burnish.plan {job_id} cpu.plan 5"]


SPECS: list[dict[str, Any]] = [
    {"model": "m", "recipe": {"target": {"device": "cpu", "unheard_of": 1}}},
    {"recipe": {"target": {"device": ["cpu"]}}},
    {"recipe": [1]},
    {},
]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_a_job_of_another_version_is_rung_for_like_any_other(
    tick: Tick, scene: Scene, bell: Recorder, spec: dict[str, Any]
) -> None:
    odd = scene.submit()
    with scene.database.begin() as tx:
        tx.execute(update(jobs).where(jobs.c.id == odd).values(spec=spec))
    other = scene.submit()
    tick.once()
    assert bell.heard == [f"burnish.plan {job_id} cpu.plan 5" for job_id in (odd, other)]


def test_a_fault_in_one_part_leaves_the_others_to_do_theirs_and_is_told_once(
    tick: Tick, scene: Scene, bell: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise KeyError("of a row that nobody can read")

    monkeypatch.setattr("workers.tick.computations.reap", broken)
    monkeypatch.setattr(tick._scheduler, "once", lambda: broken(None))
    job_id = scene.submit()
    for _ in range(3):
        tick.once()
    assert bell.heard == [f"burnish.plan {job_id} cpu.plan 5"]
    told = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage().partition(":")[0] for record in told] == ["Lapsed leases", "Schedules"]


def test_a_fault_that_stays_is_told_again_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    faults = Faults(logging.getLogger("test"), lambda: now)
    for now in (0.0, 1.0, 3599.0, 3600.0, 3601.0):  # noqa: B007  # the clock reads it
        with faults.survived("A part", but=Unavailable):
            raise ValueError("wrong")
    with faults.survived("A part", but=Unavailable):
        raise KeyError("another kind")
    with pytest.raises(Unavailable), faults.survived("A part", but=Unavailable):
        raise Unavailable("away", cure="Wait.")
    assert len(caplog.records) == 3
    assert "A part: ValueError: wrong." in caplog.text


def test_the_tick_rings_again_for_what_the_broker_did_not_take(
    tick: Tick, scene: Scene, bell: Recorder, broker: FakeBroker
) -> None:
    tick.once()
    _, key = _ready(scene)
    bell.down = True
    with pytest.raises(Unavailable):
        tick.once()
    bell.down = False
    tick.once()
    assert bell.heard == [f"burnish.step {key} cpu 5"]


class Ended(threading.Event):
    """Notes how long the tick waits between its rounds, and ends it after some."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.left, self.pauses = rounds, list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        self.pauses.append(timeout or 0.0)
        return self.left < 0


def test_a_tick_waits_longer_and_not_in_step_with_others_while_something_is_away_and_no_longer_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_environment({"BURNISH_DATA": str(tmp_path), "BURNISH_BROKER_URL": "redis://127.0.0.1:1/0"})
    Database(settings.database_url).migrate()
    monkeypatch.setattr("workers.tick.redis.Redis.from_url", lambda *_, **__: FakeBroker())
    monkeypatch.setattr("workers.tick.computations.reap", lambda tx: {}["a fault"])
    sound, away = Ended(5), Ended(40)
    serve(settings, sound)
    assert set(sound.pauses) == {0.75}
    monkeypatch.setattr("workers.tick.Scheduler.once", _away)
    serve(settings, away)
    assert len(set(away.pauses[10:])) > 10
    assert 5 < max(away.pauses) <= 15
    assert min(away.pauses) >= 0.75


def _away(*_: object) -> None:
    raise Unavailable("SQL is away.", cure="Wait.")


def test_a_broker_that_refuses_is_unavailable(tick: Tick, broker: FakeBroker) -> None:
    broker.down = True
    with pytest.raises(Unavailable, match="did not answer"):
        tick.once()


def test_the_tick_has_lapsed_steps_run_again(tick: Tick, database: Database, scene: Scene, bell: Recorder) -> None:
    _, key = _ready(scene)
    _claim(database, key)
    tick.once()
    assert scene.computation(key).state == "ready"
    assert bell.heard == [f"burnish.step {key} cpu 5"]


def test_the_tick_has_jobs_advanced_whose_step_lapsed_too_often(
    tick: Tick, database: Database, scene: Scene, bell: Recorder
) -> None:
    job_id, key = _ready(scene)
    for _ in range(3):
        _claim(database, key)
        tick.once()
    assert scene.computation(key).state == "failed"
    assert f"burnish.plan {job_id} cpu.plan 5" in bell.heard
    scene.take_up(job_id)
    assert (scene.job(job_id).error or {})["code"] == "resource.worker"


def _claim(database: Database, key: str) -> None:
    """Leases it to a worker that is gone at once."""
    with database.begin() as tx:
        claimed: Any = computations.claim(tx, key, worker="gone", ttl=-1)
    assert claimed is not None
