"""`/healthz` and `/readyz` while SQL, the blob store or the broker is away, hangs, and is back: real servers."""

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

from tests.acceptance.service import Service, service, until
from tests.api.serving import Serving, serving
from tests.postgres import Restartable, restartable_postgres
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
