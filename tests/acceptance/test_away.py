"""SQL, the blob store or the broker is away, hangs, and is back: what `/healthz` and `/readyz` say, and that it costs
no job an attempt. Real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy.engine import make_url

from storage import jobs
from storage.blobs import open_store
from storage.records import Step
from tests.acceptance.service import Service, service, until
from tests.acceptance.torture.proxy import Proxy
from tests.api.serving import Serving, serving
from tests.postgres import Restartable, fresh_database, restartable_postgres
from tests.seaweed import Seaweed, running_seaweed

LONGEST = 4.0
"""Seconds that an answer may take, whatever hangs."""


@dataclass(frozen=True)
class Part:
    """One of the three, as a test stops and starts it."""

    name: str
    stop: Callable[[], None]
    start: Callable[[], None]
    process: Callable[[], subprocess.Popen[bytes]]


@dataclass
class Fleet:
    """An API on PostgreSQL, S3 and Valkey."""

    api: Serving
    database: Restartable
    store: Seaweed
    broker: Service
    restarted: list[subprocess.Popen[bytes]]

    def part(self, name: str) -> Part:
        def start_store() -> None:
            was = self._store()
            self.restarted.append(
                subprocess.Popen(was.args, cwd=self.api.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )

        def database() -> subprocess.Popen[bytes]:
            assert self.database.process is not None
            return self.database.process

        return {
            "database": Part("database", self.database.stop, self.database.start, database),
            "blobs": Part("blobs", lambda: _kill(self._store()), start_store, self._store),
            "broker": Part(
                "broker",
                lambda: _kill(self.broker.broker),
                lambda: (self.broker.start_broker(), None)[1],
                lambda: self.broker.broker,
            ),
        }[name]

    def _store(self) -> subprocess.Popen[bytes]:
        return self.restarted[-1] if self.restarted else self.store.process

    def ask(self) -> tuple[int, dict[str, str]]:
        """Status of `/readyz`, and what it says of each part; in time, and with the process alive."""
        began = time.monotonic()
        assert httpx.get(f"{self.api.url}/healthz", timeout=LONGEST).status_code == 200
        response = httpx.get(f"{self.api.url}/readyz", timeout=LONGEST)
        assert time.monotonic() - began < LONGEST
        document = response.json()
        assert document["ready"] == (response.status_code == 200)
        return response.status_code, document["parts"]

    def ready(self) -> bool:
        return self.ask()[0] == 200


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("away")
    with ExitStack() as stack:
        database = stack.enter_context(restartable_postgres())
        store = stack.enter_context(running_seaweed(folder / "store"))
        (folder / "broker").mkdir()
        broker = stack.enter_context(service(folder / "broker"))
        (folder / "api").mkdir()
        variables = {
            "BURNISH_DATABASE_URL": database.url,
            "BURNISH_BLOBS_URL": store.url("away"),
            "BURNISH_BROKER_URL": broker.settings.broker_url,
            **store.environment,
        }
        api = stack.enter_context(serving(folder / "api", **variables))
        made = Fleet(api, database, store, broker, [])
        stack.callback(lambda: [_kill(process) for process in made.restarted])
        until(made.ready, story=lambda: str(made.ask()))
        yield made


PARTS = ("database", "blobs", "broker")


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_stopped_is_named_until_it_is_back(fleet: Fleet, name: str) -> None:
    part = fleet.part(name)
    part.stop()
    status, parts = fleet.ask()
    assert status == 503
    assert parts[name] != "ok"
    assert {parts[other] for other in PARTS if other != name} == {"ok"}
    part.start()
    until(fleet.ready, 40, lambda: str(fleet.ask()))


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_hangs_is_named_in_time_and_is_well_again_when_it_goes_on(fleet: Fleet, name: str) -> None:
    process = fleet.part(name).process()
    everything = _tree(process.pid)
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    try:
        status, parts = fleet.ask()
    finally:
        for pid in everything:
            os.kill(pid, signal.SIGCONT)
    assert status == 503
    assert parts[name] != "ok"
    assert {parts[other] for other in PARTS if other != name} == {"ok"}
    until(fleet.ready, 40, lambda: str(fleet.ask()))


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in _tree(int(child)))]


def test_metrics_are_served_while_the_database_is_away(fleet: Fleet) -> None:
    fleet.database.stop()
    text = httpx.get(f"{fleet.api.url}/metrics", timeout=10).text
    assert "burnish_sql_up 0.0" in text
    assert "burnish_http_request_seconds_count" in text
    fleet.database.start()
    until(lambda: "burnish_sql_up 1.0" in httpx.get(f"{fleet.api.url}/metrics", timeout=10).text, 40)


@dataclass
class Cut:
    """A service whose workers and ticks reach SQL and S3 through proxies, and the test directly."""

    service: Service
    sql: Proxy
    s3: Proxy

    def doing(self, job_id: str, what: str) -> Step | None:
        """The step of a job that is said to do that just now."""
        leased = [step for step in self.service.steps(job_id).values() if step.state == "leased"]
        return next((step for step in leased if what in (step.doing or "")), None)


@pytest.fixture
def cut(tmp_path: Path, postgres_url: str, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cut]:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        database = stack.enter_context(fresh_database(postgres_url))
        made = stack.enter_context(service(tmp_path, database))
        at_sql, at_s3, store = make_url(database), httpx.URL(seaweed.endpoint), seaweed.url(tmp_path.name)
        sql, s3 = Proxy(at_sql.host or "127.0.0.1", at_sql.port or 5432), Proxy(at_s3.host, at_s3.port or 80)
        stack.callback(s3.close)
        stack.callback(sql.close)
        made.blobs = open_store(store)
        made.limit(
            database_url=at_sql.set(port=sql.port).render_as_string(hide_password=False),
            blobs_url=store.replace(seaweed.endpoint, f"http://127.0.0.1:{s3.port}"),
        )
        yield Cut(made, sql, s3)


def _succeeds_at_first(made: Service, job_id: str, seconds: float) -> None:
    job = made.ended(job_id, seconds)
    assert job.state == "succeeded", made.story(job_id)
    assert {step.attempt for step in made.steps(job_id).values()} == {1}, made.story(job_id)


def test_a_folder_that_is_away_costs_no_attempt_and_is_named(here: Service) -> None:
    here.start_worker()
    here.start_tick()
    job = here.submit({"capture": {"seconds": 1.0}})
    until(lambda: here.pid(job.id) is not None, story=lambda: here.story(job.id))
    folder = Path(here.settings.blobs_url.removeprefix("file://"))
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()

    def told() -> bool:
        doing = [event.data["doing"] for event in here.events(job.id) if event.kind == "step.progress"]
        return any("waiting since" in each and str(folder) in each for each in doing)

    until(told, 20.0, lambda: here.story(job.id))
    time.sleep(7.0)  # three attempts were over by then
    folder.rmdir()
    folder.with_name("elsewhere").rename(folder)
    _succeeds_at_first(here, job.id, 60.0)


def test_s3_that_is_away_for_longer_than_three_attempts_costs_none(cut: Cut) -> None:
    cut.service.start_worker()
    cut.service.start_tick()
    submitted = [cut.service.submit({"n": n, "capture": {"seconds": 1.0}}) for n in range(4)]
    until(lambda: any(cut.doing(job.id, "acting") for job in submitted))
    cut.s3.refuse(True)
    time.sleep(20.0)
    cut.s3.refuse(False)
    for job in submitted:
        _succeeds_at_first(cut.service, job.id, 60.0)


def test_sql_that_is_away_for_longer_than_a_lease_costs_no_attempt(cut: Cut) -> None:
    """Of steps that end meanwhile, that go on all the time, and that are just claimed."""
    cut.service.start_worker()
    cut.service.start_tick()
    long = cut.service.submit({"n": 1, "capture": {"seconds": 40.0}})
    short = cut.service.submit({"n": 2, "capture": {"seconds": 8.0}})
    until(lambda: all(cut.doing(job.id, "acting") for job in (long, short)), story=lambda: cut.service.story(short.id))
    cut.sql.refuse(True)
    time.sleep(30.0)
    cut.sql.refuse(False)
    for job in (short, long):
        _succeeds_at_first(cut.service, job.id, 90.0)


def test_a_step_that_waits_for_a_store_which_hangs_is_canceled_within_five_seconds(cut: Cut) -> None:
    cut.service.limit(lease_seconds=60.0)
    cut.service.start_worker(slots=1)
    cut.service.start_tick()
    job, other = cut.service.submit({"n": 1}, ring=False), cut.service.submit({"n": 2}, ring=False)
    cut.s3.stall(True)
    cut.service.doorbell.plan(job.id, "cpu", 5)
    until(lambda: cut.doing(job.id, "fetching inputs") is not None, story=lambda: cut.service.story(job.id))
    asked = time.monotonic()
    with cut.service.database.begin() as tx:
        jobs.request_cancel(tx, job.id)
    until(lambda: cut.service.job(job.id).state == "canceled", 5.0, lambda: cut.service.story(job.id))
    assert time.monotonic() - asked < 5
    cut.service.doorbell.plan(other.id, "cpu", 5)  # the slot is free
    until(lambda: cut.doing(other.id, "fetching inputs") is not None, story=lambda: cut.service.story(other.id))
    cut.s3.stall(False)
    assert cut.service.ended(other.id).state == "succeeded"


def test_a_worker_that_is_asked_to_stop_does_not_wait_for_a_store_which_hangs(cut: Cut) -> None:
    cut.service.limit(lease_seconds=60.0)
    worker = cut.service.start_worker("1.0", slots=1)
    job = cut.service.submit({"n": 1}, ring=False)
    cut.s3.stall(True)
    cut.service.doorbell.plan(job.id, "cpu", 5)
    until(lambda: cut.doing(job.id, "fetching inputs") is not None, story=lambda: cut.service.story(job.id))
    worker.terminate()
    assert worker.wait(8.0) == 0
    step = cut.service.steps(job.id)["capture"]
    assert (step.state, step.attempt, step.failures) == ("ready", 1, 0)
