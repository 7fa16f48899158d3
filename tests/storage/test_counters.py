"""Running sums: every transition is counted once, with the transaction that makes it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from burnish.errors import InternalError
from storage import counters
from storage.database import Database
from tests.storage.scene import Clock, Scene


def sums(scene: Scene) -> dict[str, dict[tuple[str, ...], float]]:
    with scene.database.read() as tx:
        return {
            name: {labels: value for labels, value in found.items() if value}
            for name, found in counters.totals(tx).items()
        }


def test_ended_jobs_are_counted_by_state(scene: Scene) -> None:
    for key in ("a", "b"):
        scene.succeed_job(scene.ready(key))
    scene.fail_job(scene.ready("c"))
    scene.cancel(scene.queued())
    assert sums(scene)["jobs"] == {("succeeded",): 2, ("failed",): 1, ("canceled",): 1}


def test_a_job_that_is_retried_has_not_ended_any_more(scene: Scene) -> None:
    job = scene.ready()
    scene.fail_job(job)
    scene.retry(job)
    assert "failed" not in [labels[0] for labels in sums(scene)["jobs"]]


def test_a_job_canceled_by_the_end_of_its_last_step_is_counted(scene: Scene) -> None:
    job, attempt = scene.leased()
    scene.cancel(job)
    assert "jobs" not in sums(scene)
    scene.release(attempt)
    assert sums(scene)["jobs"] == {("canceled",): 1}


def test_ended_computations_are_counted_by_state_and_queue_and_leave_it_when_armed_again(scene: Scene) -> None:
    _, attempt = scene.leased("done")
    scene.commit(attempt, "done")
    _, attempt = scene.leased("failed")
    scene.fail(attempt, "failed")
    assert sums(scene)["computations"] == {("done", "cpu"): 1, ("failed", "cpu"): 1}
    scene.ready("failed")
    assert sums(scene)["computations"] == {("done", "cpu"): 1}


def test_a_computation_whose_blob_was_lost_counts_as_failed(scene: Scene) -> None:
    from storage import computations

    _, attempt = scene.leased()
    scene.commit(attempt)
    with scene.database.begin() as tx:
        assert computations.disown(tx, "c" * 64, InternalError("Gone.", cure="Retry.").document()) == 1
    assert sums(scene)["computations"] == {("failed", "cpu"): 1}


def test_hits_and_misses_are_counted(scene: Scene) -> None:
    _, attempt = scene.leased()
    scene.commit(attempt)
    scene.ready()
    scene.ready()
    assert (sums(scene)["cache_misses"][()], sums(scene)["cache_hits"][()]) == (1, 2)


def test_seconds_go_into_the_bucket_of_their_operation(scene: Scene) -> None:
    _, attempt = scene.leased()
    scene.commit(attempt)  # two seconds
    bucket = str(counters.BOUNDS.index(2.5))
    assert sums(scene)["step_seconds"] == {("capture", bucket): 1, ("capture", "sum"): 2.0}


def test_what_a_process_observed_is_written_with_its_next_transaction(scene: Scene) -> None:
    tally = counters.Tally()
    for seconds in (0.01, 0.2, 0.2):
        tally.observe("worker_calls", "sql", seconds)
    with tally.writing(scene.database.begin()):
        pass
    assert sums(scene)["worker_calls"] == {("sql", "0"): 1, ("sql", "1"): 2, ("sql", "sum"): pytest.approx(0.41)}
    with tally.writing(scene.database.begin()):
        pass
    assert sums(scene)["worker_calls"]["sql", "1"] == 2


def test_what_could_not_be_written_is_kept_for_the_next_transaction(scene: Scene) -> None:
    tally = counters.Tally()
    tally.observe("worker_calls", "fetch", 20.0)
    with pytest.raises(InternalError), tally.writing(scene.database.begin()):
        raise InternalError("It broke.", cure="Mend it.")
    assert "worker_calls" not in sums(scene)
    tally.observe("worker_calls", "fetch", 20.0)
    with tally.writing(scene.database.begin()):
        pass
    assert sums(scene)["worker_calls"]["fetch", "sum"] == 40.0


def test_retries_are_counted_by_the_class_of_their_error(scene: Scene) -> None:
    _, attempt = scene.leased()
    scene.fail(attempt, retry_in=0.0)
    assert sums(scene)["step_retries"] == {("internal",): 1}


@pytest.mark.parametrize("by", ["reap", "claim"])
def test_a_lapsed_lease_is_a_loss_and_a_retry_whoever_finds_it(scene: Scene, clock: Clock, by: str) -> None:
    scene.leased()
    clock.pass_(scene.ttl + 1)
    scene.reap() if by == "reap" else scene.won(worker="w2")
    assert sums(scene)["lease_losses"] == {(): 1}
    assert sums(scene)["step_retries"] == {("resource",): 1}


def test_what_is_rolled_back_is_not_counted(scene: Scene) -> None:
    with pytest.raises(RuntimeError):
        _count_and_fail(scene)
    with scene.database.begin() as tx:
        tx.count("cache_misses")
        with tx.savepoint() as undo:
            tx.count("cache_hits")
            undo()
    assert sums(scene) == {"cache_misses": {(): 1}}


def _count_and_fail(scene: Scene) -> None:
    with scene.database.begin() as tx:
        tx.count("cache_hits")
        raise RuntimeError


def test_transactions_that_count_the_same_at_once_lose_nothing(scene: Scene) -> None:
    def count(number: int) -> None:
        with scene.database.begin() as tx:
            names = ("x", "y", "z")
            for name in names if number % 2 else reversed(names):
                tx.count("step_retries", name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(80)))
    assert sums(scene)["step_retries"] == {("x",): 80, ("y",): 80, ("z",): 80}


def test_an_upgrade_begins_with_what_has_ended_before(scene: Scene, tmp_path: Path) -> None:
    """The tables of revision 0001 hold one job that ended; 0002 counts it."""
    scene.fail_job(scene.ready())
    with scene.database.begin() as tx:
        tx.execute(text("DROP TABLE counters"))
        tx.execute(text("ALTER TABLE jobs DROP COLUMN traceparent"))
    _upgrade_from_first(scene.database)
    assert sums(scene) == {"jobs": {("failed",): 1}, "computations": {("canceled", "cpu"): 1}}


def _upgrade_from_first(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(counters.__file__).parent / "migrations"))
    with database._engine.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        head = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
        command.upgrade(config, "0002")
        connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})
