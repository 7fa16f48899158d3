"""What a container asks itself: whether a restart would help."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from storage import workers
from storage.database import Database
from storage.tables import computations
from storage.tables import workers as worker_rows
from tests.deploy.files import script
from tests.storage.scene import Clock, Scene

health = script("health")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'burnish.sqlite'}"
    monkeypatch.setenv("BURNISH_DATABASE_URL", url)
    made = Database(url)
    made.migrate()
    yield made
    made.close()


def announce(database: Database, host: str, seen_ago: float) -> None:
    with database.begin() as tx:
        workers.announce(
            tx, id=f"wrk_{host}", name=f"{host}:7", queues=("cpu",), device="cpu", isa=(), threads=1, memory=1,
            environment="here", versions={},
        )  # fmt: skip
        seen = update(worker_rows).where(worker_rows.c.id == f"wrk_{host}").values(seen_at=tx.now - seen_ago)
        tx.execute(seen)


def test_a_worker_that_gives_signs_of_life_is_well(database: Database) -> None:
    announce(database, platform.node(), 5)
    assert health.worker() is None


def test_a_worker_that_stopped_giving_them_is_not(database: Database) -> None:
    announce(database, platform.node(), 90)
    assert "90 s ago" in health.worker()


def test_another_host_s_worker_is_none_of_our_own(database: Database) -> None:
    announce(database, "elsewhere", 5)
    assert health.worker() == "no worker of this host is announced"


@pytest.mark.parametrize("part", ["worker", "tick"])
def test_a_database_that_is_away_is_nobody_s_fault(
    part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BURNISH_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    assert health.main([part]) == 0
    assert "while the database is away" in capsys.readouterr().err


def test_the_tick_is_well_until_lapsed_leases_are_left_lying(database: Database) -> None:
    scene = Scene(database, Clock())
    job = scene.running()
    scene.bind(job, "capture", "k")
    scene.claim("k")
    assert health.tick() is None
    with database.begin() as tx:
        tx.execute(update(computations).values(lease_until=tx.now - 61))
    assert health.tick() == "1 leases lapsed over 60 s ago and were not taken back"
    assert health.main(["tick"]) == 1


def test_an_api_that_does_not_answer_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BURNISH_LISTEN", "0.0.0.0:1")
    assert "does not answer" in health.api()


def test_another_part_is_a_fault_in_the_command() -> None:
    assert health.main(["broker"]) == 2
