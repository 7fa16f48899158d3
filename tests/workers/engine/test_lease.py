"""The thread that keeps a lease alive."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import NoReturn
from unittest import mock

import pytest

from burnish.errors import BurnishError, DiskFull, InternalError, Unavailable
from storage import computations, events, jobs
from storage.database import Database
from storage.records import Claim
from tests.acceptance.service import until
from tests.workers.engine.scene import Scene
from workers import retrying
from workers.keys import KeyMaker
from workers.lease import Lease
from workers.step_log import tail


@pytest.fixture
def job_id(database: Database, keys: KeyMaker) -> str:
    scene = Scene(database, keys)
    job_id = scene.submit()
    scene.take_up(job_id)
    return job_id


@pytest.fixture
def claim(database: Database, keys: KeyMaker, job_id: str) -> Claim:
    """The first step of a job, leased."""
    key = Scene(database, keys).steps(job_id)["capture"].key
    with database.begin() as tx:
        found = computations.claim(tx, str(key), worker="w", ttl=30)
    assert found is not None
    return found


def test_it_renews_the_lease_and_carries_progress_and_log(
    database: Database, claim: Claim, job_id: str, tmp_path: Path
) -> None:
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "progress.json").write_text(json.dumps({"share": 0.5, "doing": "half of it"}))
    (tmp_path / "told" / "log.txt").write_text("one\n\ntwo\nhalf a li")
    with Lease(database, claim.key, claim.attempt, 0.2) as lease:
        lease.follow(tmp_path)
        until(lambda: _lines(database, job_id) == ["one", "two"])
        (tmp_path / "told" / "log.txt").write_text("one\n\ntwo\nhalf a line\n")
        until(lambda: _lines(database, job_id) == ["one", "two", "half a line"])
    with database.read() as tx:
        found = computations.get(tx, claim.key)
    assert found is not None
    assert (found.progress, found.doing) == (0.5, "half of it")
    assert lease.stop is None


def _lines(database: Database, job_id: str) -> list[str]:
    with database.read() as tx:
        return [event.data["line"] for event in events.of_job(tx, job_id) if event.kind == "log"]


def test_a_cancel_reaches_whoever_sleeps_in_it(database: Database, claim: Claim, job_id: str) -> None:
    with Lease(database, claim.key, claim.attempt, 0.2) as lease:
        with database.begin() as tx:
            jobs.request_cancel(tx, job_id)
        assert lease.pause(30)
        assert lease.stop == "cancel"


def test_a_lease_that_is_somebody_elses_is_lost(database: Database, claim: Claim) -> None:
    with Lease(database, claim.key, claim.attempt - 1, 0.2) as lease:
        assert lease.pause(30)
        assert lease.stop == "lost"


def _away(*_: object, **__: object) -> NoReturn:
    raise Unavailable("Away.", cure="Wait.")


def test_the_work_goes_on_while_sql_is_away_for_longer_than_the_lease_lasts(
    database: Database, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(database, claim.key, claim.attempt, 0.1) as lease:
        with monkeypatch.context() as patched:
            patched.setattr(Database, "begin", _away)
            assert not lease.pause(0.5)
        until(lambda: _lease_until(database, claim) > time.time())
        assert lease.stop is None


def _lease_until(database: Database, claim: Claim) -> float:
    with database.read() as tx:
        found = computations.get(tx, claim.key)
    assert found is not None
    assert found.lease_until is not None
    return found.lease_until


def test_it_counts_as_lost_when_sql_is_away_for_longer_than_anybody_waits(
    database: Database, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Database, "begin", _away)
    monkeypatch.setattr(retrying, "PATIENCE", 0.3)
    with Lease(database, claim.key, claim.attempt, 0.1) as lease:
        assert lease.pause(30)
        assert lease.lost


def test_who_drains_does_not_try_for_long_to_write_the_end(
    database: Database, claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(database, claim.key, claim.attempt, 30)
    lease.end("cancel")
    assert not lease.pause_to_write(0)
    lease.end("drain")
    assert not lease.pause_to_write(0)
    monkeypatch.setattr("workers.lease._LAST_TRIES", -1.0)
    assert lease.pause_to_write(0)


@pytest.mark.parametrize("error", [DiskFull("Full.", cure="Free."), InternalError("Refused.", cure="Report.")])
def test_a_heartbeat_that_sql_refuses_is_not_the_last(
    database: Database, claim: Claim, monkeypatch: pytest.MonkeyPatch, error: BurnishError
) -> None:
    before = _lease_until(database, claim)
    with Lease(database, claim.key, claim.attempt, 60) as lease:
        with monkeypatch.context() as patched:
            patched.setattr(computations, "heartbeat", mock.Mock(side_effect=error))
            assert not lease._beat()
        assert lease._beat()
    assert _lease_until(database, claim) > before


def test_the_log_tells_how_long_sql_was_away(
    database: Database, claim: Claim, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.lease._WORTH_A_LINE", 0.0)
    with Lease(database, claim.key, claim.attempt, 60) as lease:
        with monkeypatch.context() as patched:
            patched.setattr(Database, "begin", _away)
            lease._beat()
        lease._beat()
        lease._beat()
    assert _lines(database, job_id) == ["burnish: SQL took no sign of life for 0 s"]


@pytest.mark.parametrize(
    "told", ["", "no JSON", "[]", "{}", '{"share": "much", "doing": "x"}', "[" * 100_000, '{"share": null, "doing": 1}']
)
def test_progress_that_can_not_be_read_leaves_it_as_it_was(
    database: Database, claim: Claim, tmp_path: Path, told: str
) -> None:
    (tmp_path / "told").mkdir()
    file = tmp_path / "told" / "progress.json"
    file.write_text('{"share": 0.25, "doing": "a quarter"}')
    lease = Lease(database, claim.key, claim.attempt, 60)
    lease.follow(tmp_path)
    assert lease._progress() == (0.25, "a quarter")
    file.write_text(told)
    assert lease._progress() == (0.25, "a quarter")
    lease.say("storing outputs")
    assert lease._progress() == (0.25, "storing outputs")


@pytest.mark.parametrize("share", ["NaN", "Infinity", "-1", "2"])
def test_a_share_that_is_none_is_not_told_to_sql(database: Database, claim: Claim, tmp_path: Path, share: str) -> None:
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "progress.json").write_text(f'{{"share": {share}, "doing": "lost"}}')
    lease = Lease(database, claim.key, claim.attempt, 60)
    lease.follow(tmp_path)
    assert lease._progress() == (0.0, "lost")


def test_the_first_reason_to_stop_counts(database: Database, claim: Claim) -> None:
    with Lease(database, claim.key, claim.attempt, 30) as lease:
        lease.end("memory")
        lease.end("drain")
        assert lease.stop == "memory"
        assert lease.pause(0)


def test_its_thread_ends_with_it(database: Database, claim: Claim) -> None:
    with Lease(database, claim.key, claim.attempt, 30):
        assert any(thread.name.startswith("lease-") for thread in threading.enumerate())
    assert not any(thread.name.startswith("lease-") for thread in threading.enumerate())


def test_the_tail_of_a_log_is_bounded_and_clean(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert tail(log) == ""
    log.write_bytes(b"x" * 10_000 + b"\xff\0end")
    assert len(tail(log)) == 4096
    assert tail(log).endswith("��end")


def test_the_last_lines_are_kept_for_the_end_of_the_step_and_told_by_no_heartbeat(
    database: Database, claim: Claim, job_id: str, tmp_path: Path
) -> None:
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "log.txt").write_text("one\nhalf a line")
    with Lease(database, claim.key, claim.attempt, 30) as lease:
        lease.follow(tmp_path)
        lease.finish_log()
        assert lease.rest == ["one", "half a line"]
        assert lease._beat()
    assert _lines(database, job_id) == []


def test_of_a_long_log_all_but_the_last_lines_are_told_at_once(
    database: Database, claim: Claim, job_id: str, tmp_path: Path
) -> None:
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "log.txt").write_text("".join(f"{number}\n" for number in range(250)))
    with Lease(database, claim.key, claim.attempt, 30) as lease:
        lease.follow(tmp_path)
        lease.finish_log()
    with database.read() as tx:
        told = [event.data["line"] for event in events.of_job(tx, job_id, 0, 1000) if event.kind == "log"]
    assert [*told, *lease.rest] == [str(number) for number in range(250)]
    assert len(lease.rest) == 50


def test_where_a_log_is_cut_the_job_has_a_line_that_says_so(
    database: Database, claim: Claim, job_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.lease._LAST_BEATS", 2)
    (tmp_path / "told").mkdir()
    (tmp_path / "told" / "log.txt").write_text("line\n" * 1000)
    with Lease(database, claim.key, claim.attempt, 60) as lease:
        lease.follow(tmp_path)
        lease.finish_log()
    (cut,) = lease.rest
    with database.begin() as tx:
        computations.commit(tx, claim.key, claim.attempt, outputs={}, report={}, seconds=1.0, peak_memory=1, log=[cut])
    with database.read() as tx:
        told = [event.data["line"] for event in events.of_job(tx, job_id, 0, 2000) if event.kind == "log"]
    kept = told.count("line")
    assert 0 < kept < 1000
    assert told[-1] == cut == f"burnish: the step printed {5 * (1000 - kept)} bytes more, too many to be kept"
