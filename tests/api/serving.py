"""The API as it is served: `python -P -m api` in a process of its own, on a free loopback port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

__all__ = ["ROOT", "Serving", "environment", "serving"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Serving:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Peak resident memory of the serving process, in bytes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (worker,) = children
        status = Path(f"/proc/{worker}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))

    def stored(self) -> list[str]:
        """Every file of the blob store, half-written ones included."""
        return [path.name for path in (self.folder / "blobs").rglob("*") if path.is_file()]


def environment(folder: Path, port: int, **changes: str) -> dict[str, str]:
    """What the server reads; everything of it lies in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BURNISH_")}
    return inherited | {
        "BURNISH_DATA": str(folder),
        "BURNISH_LISTEN": f"127.0.0.1:{port}",
        "BURNISH_BROKER_URL": "redis://127.0.0.1:1/0",
        "PYTHONPATH": str(ROOT),
        **changes,
    }


@contextmanager
def serving(folder: Path, *, command: tuple[str, ...] = ("-m", "api"), **changes: str) -> Iterator[Serving]:
    """Starts a server, waits until it answers, stops it at the end."""
    port = _free_port()
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", *command], env=environment(folder, port, **changes), cwd=folder, stdout=log,
            stderr=log,
        )  # fmt: skip
    try:
        server = Serving(process, port, folder)
        _wait(server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(server: Serving) -> None:
    limit = time.monotonic() + 60
    while time.monotonic() < limit and server.process.poll() is None:
        try:
            httpx.get(f"{server.url}/healthz", timeout=5)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("The API did not come up:\n" + (server.folder / "api.log").read_text())
