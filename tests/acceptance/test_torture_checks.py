"""Negative controls: what proves that nothing went wrong finds what did."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from burnish.errors import BurnishError, InternalError, OutOfMemory, Unavailable, UnsupportedModel
from storage import bindings, computations, jobs
from storage.blobs import open_store
from storage.database import Database, Transaction
from storage.records import Computation
from storage.tables import computations as computation_rows
from storage.tables import counters, events, products
from storage.tables import jobs as job_rows
from storage.tables import steps as step_rows
from tests.acceptance.torture.history import check_history
from tests.acceptance.torture.leftovers import check_blobs, check_folders, check_processes, stored
from tests.storage.scene import Clock, Scene

KEY = "k" * 64


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """An empty database with a clock of its own."""
    clock = Clock()
    database = Database(f"sqlite:///{tmp_path / 'burnish.sqlite'}", clock)
    database.migrate()
    yield Scene(database, clock)
    database.close()


def _finish(scene: Scene, job_id: str) -> None:
    with scene.database.begin() as tx:
        jobs.succeed(tx, job_id, {"outcome": "no_gain"})


def _honest(scene: Scene) -> list[str]:
    """Two jobs that share a step, of which the first attempt was lost, and one that was canceled."""
    first = scene.ready(KEY)
    stale = scene.won(KEY).attempt
    second = scene.ready(KEY)
    scene.clock.pass_(scene.ttl + 1)
    scene.reap()
    newest = scene.won(KEY).attempt
    assert scene.commit(stale, KEY) is None
    assert scene.commit(newest, KEY) == sorted([first, second])
    for job_id in (first, second):
        _finish(scene, job_id)
    canceled = scene.queued()
    scene.cancel(canceled)
    return [first, second, canceled]


def _check(scene: Scene, accepted: list[str]) -> list[str]:
    return check_history(scene.database, accepted, {})


def test_an_honest_history_passes(scene: Scene) -> None:
    accepted = _honest(scene)
    assert _check(scene, accepted) == []


def _without_a_job(tx: Transaction, ids: list[str]) -> None:
    for table, column in ((events, events.c.job_id), (step_rows, step_rows.c.job_id), (job_rows, job_rows.c.id)):
        tx.execute(delete(table).where(column == ids[2]))


def _an_end_again(tx: Transaction, ids: list[str]) -> None:
    from storage import events as history

    history.add(tx, "job.succeeded", {}, job_id=ids[0])


def _still_running(tx: Transaction, ids: list[str]) -> None:
    tx.execute(update(job_rows).where(job_rows.c.id == ids[2]).values(state="running", finished_at=None))


def _a_gap(tx: Transaction, ids: list[str]) -> None:
    tx.execute(delete(events).where(events.c.job_id == ids[0], events.c.id == 3))


def _a_second_commit(tx: Transaction, ids: list[str]) -> None:
    told = update(events).where(events.c.job_id == ids[0], events.c.kind == "step.retry")
    tx.execute(told.values(kind="step.done", data={"hit": False, "attempt": 1}))


def _a_stale_commit(tx: Transaction, ids: list[str]) -> None:
    told = update(events).where(events.c.job_id == ids[0], events.c.kind == "step.done")
    tx.execute(told.values(data={"hit": False, "attempt": 1}))


def _an_attempt_that_goes_back(tx: Transaction, ids: list[str]) -> None:
    told = update(events).where(events.c.job_id == ids[0], events.c.kind == "step.leased")
    tx.execute(told.values(data={"attempt": 7}))


def _a_lease_that_stays(tx: Transaction, ids: list[str]) -> None:
    left = {"state": "leased", "lease_until": tx.now, "worker": "w", "outputs": None}
    tx.execute(update(computation_rows).values(**left))


def _a_step_that_waits(tx: Transaction, ids: list[str]) -> None:
    tx.execute(update(step_rows).where(step_rows.c.job_id == ids[1]).values(state="ready"))


def _a_wrong_sum(tx: Transaction, ids: list[str]) -> None:
    tx.execute(update(counters).where(counters.c.name == "jobs").values(value=counters.c.value + 1))


def _an_error(tx: Transaction, job_id: str, **error: str) -> None:
    told = {"message": "", "cure": "", **error}
    tx.execute(update(job_rows).where(job_rows.c.id == job_id).values(state="failed", verdict=None, error=told))


def _an_error_of_nobody(tx: Transaction, ids: list[str]) -> None:
    _an_error(tx, ids[0], **{"class": "user"}, code="model.unsupported", step="capture")


def _an_error_of_the_engine(tx: Transaction, ids: list[str]) -> None:
    _an_error(tx, ids[0], **{"class": "internal"}, code="internal")


def _an_error_of_a_step_that_did_not_fail(tx: Transaction, ids: list[str]) -> None:
    _an_error(tx, ids[0], **{"class": "resource"}, code="resource.memory", step="capture")


@pytest.mark.parametrize(
    ("doctor", "sentence"),
    [
        (_without_a_job, "was accepted and is lost"),
        (_an_end_again, "ended 2 times in life 1"),
        (_still_running, "has not ended: it is running"),
        (_a_gap, "has gaps in its events"),
        (_a_second_commit, "was committed twice"),
        (_a_stale_commit, "committed by attempt 1, but 2 had the lease"),
        (_an_attempt_that_goes_back, "attempt 7 was leased after attempt 7"),
        (_a_lease_that_stays, "is still leased"),
        (_a_step_that_waits, "but its step capture is ready"),
        (_a_wrong_sum, "the running sum says"),
        (_an_error_of_nobody, "by a fault of its owner that it does not have"),
        (_an_error_of_the_engine, "failed, and no step of it did"),
        (_an_error_of_a_step_that_did_not_fail, "failed after 0 of 3 attempts at capture"),
    ],
)
def test_a_doctored_history_is_found_out(
    scene: Scene, doctor: Callable[[Transaction, list[str]], None], sentence: str
) -> None:
    accepted = _honest(scene)
    with scene.database.begin() as tx:
        doctor(tx, accepted)
    assert any(sentence in found for found in _check(scene, accepted)), _check(scene, accepted)


def _give_up(scene: Scene, *job_ids: str, attempts: int, error: type[BurnishError] = OutOfMemory) -> None:
    """All of them wait for the one step, which fails so often; then they do."""
    told = error("It broke.", cure="Mend it.")
    for left in reversed(range(attempts)):
        scene.fail(scene.won(KEY).attempt, KEY, retry_in=0.0 if left else None, error=told)
    with scene.database.begin() as tx:
        for job_id in job_ids:
            jobs.fail(tx, job_id, {**told.document(), "step": "capture"})


@pytest.mark.parametrize("scripted", [None, "resource", "internal"])
@pytest.mark.parametrize(("attempts", "found"), [(1, 1), (2, 1), (3, 0)])
def test_a_job_that_failed_before_its_attempts_were_used_up_is_found_out(
    scene: Scene, scripted: str | None, attempts: int, found: int
) -> None:
    job_id = scene.ready(KEY)
    _give_up(scene, job_id, attempts=attempts)
    violations = check_history(scene.database, [job_id], {job_id: scripted} if scripted else {})
    assert len(violations) == found
    assert all(f"failed after {attempts} of 3 attempts at capture" in each for each in violations)


@pytest.mark.parametrize("retry_in", [0.0, None])
def test_an_attempt_that_failed_since_something_was_away_is_found_out(scene: Scene, retry_in: float | None) -> None:
    job_id = scene.ready(KEY)
    error = Unavailable("The store did not answer.", cure="Start it.")
    scene.fail(scene.won(KEY).attempt, KEY, retry_in=retry_in, error=error)
    found = [each for each in _check(scene, [job_id]) if "failed for what was only away" in each]
    assert found == [f"{job_id} capture: attempt 1 failed for what was only away"]


def test_attempts_count_for_all_jobs_that_share_the_step(scene: Scene) -> None:
    first = scene.ready(KEY)
    scene.won(KEY)
    scene.clock.pass_(scene.ttl + 1)
    scene.reap()
    second = scene.ready(KEY)
    _give_up(scene, first, second, attempts=2)
    assert _check(scene, [first, second]) == []


def test_attempts_of_an_earlier_life_of_the_step_do_not_count(scene: Scene) -> None:
    first = scene.ready(KEY)
    _give_up(scene, first, attempts=3)
    second = scene.ready(KEY)
    _give_up(scene, second, attempts=1)
    (violation,) = _check(scene, [first, second])
    assert violation.startswith(f"{second} failed after 1 of 3 attempts at capture")


def test_a_fault_that_the_script_gives_its_owner_is_final_at_once(scene: Scene) -> None:
    job_id = scene.ready(KEY)
    _give_up(scene, job_id, attempts=1, error=UnsupportedModel)
    assert check_history(scene.database, [job_id], {job_id: "user"}) == []
    assert check_history(scene.database, [job_id], {job_id: "internal"}) != []


@pytest.mark.parametrize("scripted", ["user", "resource", "internal"])
def test_a_job_that_succeeded_in_spite_of_its_script_is_found_out(scene: Scene, scripted: str) -> None:
    accepted = _honest(scene)
    (violation,) = check_history(scene.database, accepted, {accepted[0]: scripted})
    assert violation == f"{accepted[0]} succeeded, though its script ends by an error of class {scripted}"


def test_a_job_that_nobody_was_told_of_is_found_out(scene: Scene) -> None:
    accepted = _honest(scene)
    assert any("an order was taken twice" in found for found in _check(scene, accepted[1:]))


def _unfenced(tx: Transaction, key: str, attempt: int) -> tuple[Computation | None, Mapping[str, str]]:
    return computations.get(tx, key), bindings.states_of(tx, key)


def test_without_the_fence_a_stale_attempt_commits_and_is_found_out(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine itself with its fence taken out: the attempt's number is not looked at."""

    first = scene.ready(KEY)
    stale = scene.won(KEY).attempt
    scene.clock.pass_(scene.ttl + 1)
    scene.reap()
    newest = scene.won(KEY).attempt
    monkeypatch.setattr(computations, "held", _unfenced)
    assert scene.commit(stale, KEY) == [first]
    with pytest.raises(InternalError):  # a second hedge: what a computation made is noted once
        scene.commit(newest, KEY)
    _finish(scene, first)
    assert any("committed by attempt 1, but 2 had the lease" in found for found in _check(scene, [first]))


def test_without_the_fence_two_jobs_can_get_two_results_of_one_step(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scene.ready(KEY)
    stale = scene.won(KEY).attempt
    scene.clock.pass_(scene.ttl + 1)
    scene.reap()
    newest = scene.won(KEY).attempt
    monkeypatch.setattr(computations, "held", _unfenced)
    scene.commit(stale, KEY)
    _finish(scene, first)
    with scene.database.begin() as tx:  # as if its cache entry had not been there either
        tx.execute(delete(products))
        tx.execute(update(computation_rows).values(state="leased", outputs=None, lease_until=tx.now, attempt=newest))
    second = scene.ready(KEY)
    scene.commit(newest, KEY)
    _finish(scene, second)
    assert any("was committed by several attempts: [1, 2]" in found for found in _check(scene, [first, second]))


def test_bytes_that_changed_are_found_out(scene: Scene, tmp_path: Path) -> None:
    accepted = _blobs(scene, tmp_path)
    path = next((tmp_path / "blobs").glob(f"{accepted[:2]}/*"))
    path.chmod(0o600)
    path.write_bytes(b"other bytes")
    assert any("holds the bytes of" in found for found in _look(scene, tmp_path))


def test_a_blob_that_is_gone_is_found_out(scene: Scene, tmp_path: Path) -> None:
    digest = _blobs(scene, tmp_path)
    open_store(f"file://{tmp_path / 'blobs'}").delete(digest)
    assert _look(scene, tmp_path) == [f"blob {digest} is gone, and a row refers to it"]


def test_a_blob_that_no_row_knows_is_found_out(scene: Scene, tmp_path: Path) -> None:
    _blobs(scene, tmp_path)
    stray = open_store(f"file://{tmp_path / 'blobs'}").put([b"stray"])
    assert _look(scene, tmp_path) == [f"blob {stray.digest} is unknown to SQL: no collector will find it"]


def test_a_half_written_blob_is_found_out(scene: Scene, tmp_path: Path) -> None:
    _blobs(scene, tmp_path)
    (tmp_path / "blobs/incoming/x.part").write_bytes(b"half")
    assert _look(scene, tmp_path) == ["incoming/x.part lies in the store and is no blob"]


def test_a_folder_that_a_dead_worker_left_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "scratch/wrk_x").mkdir(parents=True)
    (tmp_path / "scratch/lock").touch()
    assert check_folders(tmp_path) == ["scratch folder wrk_x was left"]


def test_a_process_that_is_left_is_found_out(tmp_path: Path) -> None:
    assert check_processes(tmp_path) == []
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=tmp_path, stdin=subprocess.PIPE) as left:
        assert any(f"process {left.pid} is left" in found for found in check_processes(tmp_path))
        left.communicate(b"\n")


def _blobs(scene: Scene, tmp_path: Path) -> str:
    """A store with the one blob that a model row refers to; its digest."""
    blob = open_store(f"file://{tmp_path / 'blobs'}").put([b"model"])
    assert blob.digest == hashlib.sha256(b"model").hexdigest()
    scene.model(digest=blob.digest)
    assert _look(scene, tmp_path) == []
    return blob.digest


def _look(scene: Scene, tmp_path: Path) -> list[str]:
    return check_blobs(scene.database, *stored(f"file://{tmp_path / 'blobs'}"))
