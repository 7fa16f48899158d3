"""The whole service as people's browsers meet it: real API, worker and tick, a broker, SQLite and a folder of blobs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx

from burnish import Client
from burnish.local.ports import free_port
from tests.acceptance.service import Service, until

__all__ = ["Site", "site_in"]


class Site(Service):
    """The processes of the acceptance tests, with the API and workers that do the real steps."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.settings = replace(self.settings, listen=("127.0.0.1", free_port()), lease_seconds=30.0)
        self.client = Client(self.url)
        self.api = self.start_api()

    @property
    def url(self) -> str:
        """Where it answers, without a trailing slash."""
        host, port = self.settings.listen
        return f"http://{host}:{port}"

    def start_api(self) -> subprocess.Popen[bytes]:
        """The API, answering."""
        self.api = self._start([sys.executable, "-P", "-m", "api"], "api")
        until(self._answers, 60, lambda: (self.folder / "api.log").read_text())
        return self.api

    def start_real_worker(self, slots: int = 1) -> subprocess.Popen[bytes]:
        """A worker with the real passes, listed by the API."""
        process = self._start([sys.executable, "-P", "-m", "workers"], "worker", slots=slots)
        until(lambda: bool(self.client.workers().items), 60, lambda: (self.folder / "worker.log").read_text())
        return process

    def close(self) -> None:
        self.client.close()
        super().close()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def site_in(folder: Path) -> Iterator[Site]:
    """A service without workers yet; everything is killed at the end."""
    made = Site(folder)
    try:
        yield made
    finally:
        made.close()
