"""From a doorbell to a commit: a real zygote, a real store, SQLite, and no broker."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import Engine, event, update

from burnish.errors import DiskFull, InternalError, Unavailable
from burnish.settings import Settings
from storage import computations, ready, succession, tables
from storage.blobs import BlobStore, open_store
from storage.database import Database
from storage.succession import Found
from tests.storage.scene import Clock
from tests.workers.engine.scene import Scene
from tests.workers.engine.test_dispatch import Recorder
from workers.advance import take_up
from workers.dispatch import REDISPATCH, Following
from workers.environment import Environment
from workers.host_lock import HostLock
from workers.keys import KeyMaker
from workers.runner import Runner
from workers.scratch import Scratch
from workers.zygote_client import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote("tests.acceptance.scripted", preload=())
    made.start()
    yield made
    made.close()


class Running(Clock):
    """One that goes on a little each time it is read, so that no two transactions share a moment."""

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Running()


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    """On a clock that the test moves."""
    opened = Database(f"sqlite:///{tmp_path / 'test.sqlite'}", clock)
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"BURNISH_DATA": str(tmp_path / "data"), "BURNISH_SLOTS": "1"})


@pytest.fixture
def blobs(settings: Settings) -> BlobStore:
    return open_store(settings.blobs_url)


@pytest.fixture
def bell() -> Recorder:
    return Recorder()


@pytest.fixture
def runner(
    settings: Settings,
    database: Database,
    blobs: BlobStore,
    bell: Recorder,
    zygote: Zygote,
    keys: KeyMaker,
    tmp_path: Path,
) -> Iterator[Runner]:
    scratch = Scratch(tmp_path / "scratch", "wrk_1")
    yield Runner(
        settings=settings, worker_id="wrk_1", database=database, blobs=blobs, doorbell=bell, zygote=zygote,
        keys=keys, scratch=scratch, host=HostLock(tmp_path / "host"),
    )  # fmt: skip
    scratch.close()


@pytest.fixture
def scene(database: Database, keys: KeyMaker) -> Scene:
    return Scene(database, keys)


def _submit(scene: Scene, blobs: BlobStore, script: dict[str, Any] | None = None) -> str:
    """A job whose model and dataset are in the store."""
    blobs.put([b"{}"])
    data = blobs.put([json.dumps(script or {}).encode()])
    return scene.submit(model=data.digest, dataset=data.digest)


def test_one_doorbell_takes_a_job_through_all_its_steps(
    runner: Runner, scene: Scene, blobs: BlobStore, bell: Recorder
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    (rung,) = bell.heard
    runner.execute(rung.split()[1])
    assert scene.job(job_id).state == "succeeded"
    for step in scene.steps(job_id).values():
        for digest in (step.outputs or {}).values():
            assert blobs.size(digest) is not None


def test_a_doorbell_for_no_job_or_no_step_is_nothing(runner: Runner) -> None:
    runner.plan("job_nothing")
    runner.execute("0" * 64)


def test_a_step_of_another_code_version_is_left_alone(runner: Runner, scene: Scene, blobs: BlobStore) -> None:
    job_id = _submit(scene, blobs)
    other = _other(scene)
    other.take_up(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    runner.execute(key)
    assert scene.computation(key).state == "ready"
    assert scene.steps(job_id)["capture"].key == key


def test_a_step_that_no_worker_of_its_version_took_for_long_is_bound_anew(
    runner: Runner, scene: Scene, blobs: BlobStore, clock: Clock, bell: Recorder
) -> None:
    job_id = _submit(scene, blobs)
    _other(scene).take_up(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    clock.pass_(121)
    runner.execute(key)
    assert scene.steps(job_id)["capture"].key != key
    assert scene.computation(key).state == "canceled"
    assert scene.job(job_id).state == "succeeded"


def test_a_slot_whose_doorbell_came_too_late_takes_what_is_ready_instead(
    runner: Runner, scene: Scene, blobs: BlobStore, bell: Recorder
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    runner.execute("0" * 64)  # of a step that another slot has taken
    assert scene.job(job_id).state == "succeeded"


def _other(scene: Scene) -> Scene:
    """The same service, planned by a worker with another version of Python."""
    here: Environment = scene.keys.environment
    there = replace(here, versions={**here.versions, "python": "2.7"})
    return Scene(scene.database, replace(scene.keys, environment=there))


def test_an_input_that_is_gone_from_the_store_is_told_with_the_cure(
    runner: Runner, scene: Scene, blobs: BlobStore
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    step = scene.steps(job_id)["capture"]
    blobs.delete(step.spec["inputs"]["model"].removeprefix("sha256:"))
    runner.execute(str(step.key))
    (reason,) = scene.computation(step.key).reasons
    assert "gone from the store" in reason["error"]["message"]
    assert "Upload" in reason["error"]["cure"]


def test_an_internal_error_is_tried_again_later_and_later(
    runner: Runner, scene: Scene, blobs: BlobStore, clock: Clock
) -> None:
    job_id = _submit(scene, blobs, {"capture": {"raise": "internal"}})
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    pauses = []
    for _ in range(2):
        runner.execute(key)
        pauses.append(scene.computation(key).run_after - clock.now)
        runner.execute(key)  # too early: nothing happens
        clock.pass_(pauses[-1])
    assert 0.4 < pauses[0] < 1.6 < pauses[1] < 6.1
    runner.execute(key)
    assert scene.computation(key).state == "failed"
    assert len(scene.computation(key).reasons) == 3
    assert scene.job(job_id).state == "failed"


def test_a_failure_keeps_the_tail_of_the_log_and_the_memory_used(
    runner: Runner, scene: Scene, blobs: BlobStore
) -> None:
    job_id = _submit(scene, blobs, {"capture": {"raise": "user"}})
    runner.plan(job_id)
    runner.execute(str(scene.steps(job_id)["capture"].key))
    details = (scene.job(job_id).error or {})["details"]
    assert "The script says so" in details["log_tail"]
    assert details["peak_memory"] > 1_000_000


def test_a_draining_worker_takes_nothing_new(runner: Runner, scene: Scene, blobs: BlobStore) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    runner.drain(0.0)
    key = str(scene.steps(job_id)["capture"].key)
    runner.execute(key)
    assert scene.computation(key).attempt == 0


def test_a_step_claimed_at_the_last_moment_is_given_back(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    take = succession.take

    def and_stop(*arguments: Any, **options: Any) -> Any:
        found = take(*arguments, **options)
        runner.drain(0.0)
        return found

    monkeypatch.setattr(succession, "take", and_stop)
    runner.execute(key)
    found = scene.computation(key)
    assert (found.state, found.attempt, found.failures) == ("ready", 1, 0)


def test_a_step_of_another_version_that_comes_next_does_not_cost_the_one_before(
    runner: Runner, scene: Scene, blobs: BlobStore
) -> None:
    first, second = _submit(scene, blobs), _submit(scene, blobs, {"n": 2})
    for job_id in (first, second):
        runner.plan(job_id)
    strange = str(scene.steps(second)["capture"].key)
    with scene.database.begin() as tx:
        tx.execute(update(tables.computations).where(tables.computations.c.key == strange).values(op="new", turn=0.0))
    key = str(scene.steps(first)["capture"].key)
    runner.execute(key)
    assert (scene.computation(key).state, scene.computation(strange).state) == ("done", "ready")


@pytest.mark.parametrize("changes", [{"op": "new"}, {"spec": {}}, {"spec": []}], ids=str)
def test_a_step_that_no_worker_can_read_ends_its_job_after_a_while(
    runner: Runner, scene: Scene, blobs: BlobStore, clock: Clock, changes: dict[str, Any]
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    with scene.database.begin() as tx:
        tx.execute(update(tables.computations).where(tables.computations.c.key == key).values(**changes))
        tx.execute(update(tables.steps).where(tables.steps.c.key == key).values(op="new"))
    runner.execute(key)
    assert scene.job(job_id).state == "running"
    clock.pass_(121)
    runner.execute(key)
    job = scene.job(job_id)
    assert job.state == "failed"
    assert (job.error or {})["message"] == "This worker has no step 'new'."


def test_the_doorbell_of_a_step_for_others_is_rung_again_when_it_has_waited_twice_as_long(
    runner: Runner, scene: Scene, blobs: BlobStore, clock: Clock
) -> None:
    job_id = _submit(scene, blobs)
    _other(scene).take_up(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    rung: list[float] = []
    for _ in range(1000):
        with scene.database.begin() as tx:
            due = ready.due(tx, 10, tx.now - REDISPATCH)
        if due:
            rung.append(clock.now - scene.computation(key).run_after)
            runner.execute(key)
        clock.pass_(0.1)
    gaps = [after - before for before, after in itertools.pairwise(rung)]
    assert len(rung) < 15
    assert all(gap < 2 * max(waited, 0.2) for gap, waited in zip(gaps, rung, strict=False))
    assert rung[-1] > 45


def test_a_stale_doorbell_for_a_done_step_is_dropped(runner: Runner, scene: Scene, blobs: BlobStore) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    runner.execute(key)
    runner.execute(key)
    with scene.database.read() as tx:
        found = computations.get(tx, key)
    assert found is not None
    assert found.attempt == 1


def test_a_step_costs_few_statements(runner: Runner, scene: Scene, blobs: BlobStore) -> None:
    """A bound that holds what was won: from the plan to the verdict, begins of transactions and pragmas not counted."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        job_id = _submit(scene, blobs)
        runner.plan(job_id)
        key = str(scene.steps(job_id)["capture"].key)
        statements.clear()
        runner.execute(key)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    own = [statement for statement in statements if not statement.startswith(("PRAGMA", "BEGIN"))]
    done = sum(step.state == "done" for step in scene.steps(job_id).values())
    assert scene.job(job_id).state == "succeeded"
    assert len(own) / done < 26


def _damage(settings: Settings, digest: str) -> None:
    path = Path(settings.blobs_url.removeprefix("file://")) / digest[:2] / digest
    path.chmod(0o644)
    path.write_bytes(b"other bytes")


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_an_input_that_the_store_lost_is_computed_again_and_the_job_succeeds(
    runner: Runner, scene: Scene, blobs: BlobStore, settings: Settings, how: str
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    capture = scene.steps(job_id)["capture"]
    _run_one(runner, str(capture.key))
    program = (scene.steps(job_id)["capture"].outputs or {})["program"]
    blobs.delete(program) if how == "gone" else _damage(settings, program)
    _finish(runner, scene, job_id)
    assert scene.job(job_id).state == "succeeded"
    assert scene.computation(capture.key).attempt == 2
    assert b"".join(blobs.open(program))


def test_an_input_that_is_lost_whenever_it_is_made_fails_the_job_with_the_reason(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    fetch = blobs.fetch

    def losing(digest: str, folder: Path) -> Path:
        if blobs.size(digest) is not None and digest != model:
            blobs.delete(digest)
        return fetch(digest, folder)

    model = scene.steps(job_id)["capture"].spec["inputs"]["model"].removeprefix("sha256:")
    monkeypatch.setattr(blobs, "fetch", losing)
    for _ in range(60):
        if scene.job(job_id).state != "running":
            break
        _finish(runner, scene, job_id)
        clock.pass_(61)
    assert scene.job(job_id).state == "failed"
    assert "gone from the store" in str(scene.job(job_id).error)


def test_an_output_that_was_removed_before_the_commit_is_made_again(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    with monkeypatch.context() as patched:
        patched.setattr("storage.blob_index.confirm", lambda tx, held: False)
        _run_one(runner, key)
    found = scene.computation(key)
    assert (found.state, found.failures) == ("ready", 1)
    assert "removed from the store" in found.reasons[0]["error"]["message"]
    clock.pass_(2)
    _finish(runner, scene, job_id)
    assert scene.job(job_id).state == "succeeded"


class _AwayAtFirst:
    """Lets a call fail so often before it does what it did."""

    def __init__(self, real: Callable[..., Any], error: BaseException, times: int) -> None:
        self.real, self.error, self.left = real, error, times

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self.error
        return self.real(*arguments, **options)


AWAY = Unavailable("It is away.", cure="Wait.")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is away is asked again at once."""
    monkeypatch.setattr("workers.retrying.backoff", lambda *_: 0.0)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("call", ["fetch", "put_file"])
def test_a_store_that_is_away_for_longer_than_three_attempts_costs_none(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    monkeypatch.setattr(blobs, call, _AwayAtFirst(getattr(blobs, call), AWAY, 5))
    runner.execute(str(scene.steps(job_id)["capture"].key))
    assert scene.job(job_id).state == "succeeded"
    assert {step.attempt for step in scene.steps(job_id).values()} == {1}


@pytest.mark.usefixtures("soon")
def test_a_store_that_stays_away_costs_an_attempt_in_the_end(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    monkeypatch.setattr(blobs, "fetch", _AwayAtFirst(blobs.fetch, AWAY, 10**6))
    monkeypatch.setattr("workers.retrying.PATIENCE", 0.1)
    key = str(scene.steps(job_id)["capture"].key)
    runner.execute(key)
    (reason,) = scene.computation(key).reasons
    assert reason["error"]["code"] == "resource.unavailable"


@pytest.mark.usefixtures("soon")
def test_a_doorbell_is_not_lost_when_sql_is_away_as_it_comes(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = _submit(scene, blobs)
    monkeypatch.setattr("workers.runner.take_up", _AwayAtFirst(take_up, AWAY, 4))
    runner.plan(job_id)
    monkeypatch.setattr(succession, "take", _AwayAtFirst(succession.take, AWAY, 4))
    runner.execute(str(scene.steps(job_id)["capture"].key))
    assert scene.job(job_id).state == "succeeded"


def test_who_drains_waits_for_no_sql(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.drain(0.0)
    monkeypatch.setattr("workers.runner.jobs.get", _AwayAtFirst(computations.get, AWAY, 10**6))
    with pytest.raises(Unavailable):
        runner.plan("job_1")


@pytest.mark.parametrize("error", [AWAY, DiskFull("SQL's disk is full.", cure="Free some.")])
def test_an_end_is_written_as_soon_as_sql_takes_it(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    monkeypatch.setattr(computations, "commit", _AwayAtFirst(computations.commit, error, 2))
    _run_one(runner, key)
    assert (scene.computation(key).state, scene.computation(key).attempt) == ("done", 1)


def test_an_end_that_sql_refuses_is_a_failure_that_tells_why(
    runner: Runner, scene: Scene, blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = _submit(scene, blobs)
    runner.plan(job_id)
    key = str(scene.steps(job_id)["capture"].key)
    refused = InternalError("The database refused a statement.", cure="Report it.")
    monkeypatch.setattr(computations, "commit", _AwayAtFirst(computations.commit, refused, 1))
    _run_one(runner, key)
    found = scene.computation(key)
    assert (found.state, found.failures) == ("ready", 1)
    assert "refused a statement" in found.reasons[0]["error"]["message"]


def _run_one(runner: Runner, key: str) -> None:
    """Without going on with the next that is ready, so that a test can come in between."""
    found = runner._claim(key)
    assert found is not None
    with mock.patch.object(runner, "_follow", return_value=Following(Found(None, None), [])):
        runner._run_claimed(found.claim, None)


def _finish(runner: Runner, scene: Scene, job_id: str) -> None:
    """All that is ready, as doorbells would have it."""
    ready = [str(step.key) for step in scene.steps(job_id).values() if step.state == "ready"]
    for key in ready:
        runner.execute(key)
