"""The parts of the embedded service, in the order in which they start."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import burnish
from burnish.local.part import Part
from burnish.local.ports import choose_listen, free_port
from burnish.local.probe import get
from burnish.local.valkey import broker_url, valkey_part
from burnish.settings import SETTINGS, Settings

__all__ = ["Service", "embedded", "python", "python_environment"]


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a supervisor keeps running."""

    url: str
    """Where its API will be, without a trailing slash."""
    parts: tuple[Part, ...]


def embedded(settings: Settings) -> Service:
    """The whole service as `settings` want it.

    It has a Valkey of its own, on a free port with a random password, unless BURNISH_BROKER_URL names another one.

    Raises:
        Unavailable: the API's port is busy, or no valkey-server is installed.
    """
    base = python_environment()
    parts = []
    if settings.broker_url == SETTINGS["broker_url"].default:
        port, password = free_port(), secrets.token_urlsafe(24)
        parts.append(valkey_part(settings.data / "valkey", port, password, base))
        settings = replace(settings, broker_url=broker_url(port, password))
    settings = replace(settings, listen=choose_listen(settings.listen))
    environment = base | replace(settings, url="", token="").environment()
    url = _url(*settings.listen)
    parts += [
        Part(
            name="migrate",
            command=python("storage.migrate"),
            environment=environment,
            once=True,
        ),
        Part(
            name="worker",
            command=python("workers"),
            environment=environment,
            ready=_WorkerListed(url, settings.token, time.time()),
            stop_seconds=30,
        ),
        Part(name="tick", command=python("workers.tick"), environment=environment),
        Part(
            name="api",
            command=python("api"),
            environment=environment,
            ready=lambda: get(f"{url}/readyz")[0] == 200,
            stop_seconds=25,
        ),
    ]
    return Service(url=url, parts=tuple(parts))


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of ours. `-P`: a folder `api` where we are started can't be taken for ours."""
    return (sys.executable, "-P", "-m", module, *arguments)


def python_environment() -> dict[str, str]:
    """This process's environment without Burnish's variables, in which our packages are found from any folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BURNISH_")}
    root = Path(burnish.__file__).parent.parent
    if root.name not in ("site-packages", "dist-packages"):  # a source tree that may not be installed at all
        known = environment.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{known}" if known else str(root)
    return environment


@dataclass(frozen=True)
class _WorkerListed:
    """Ready when the API lists a worker seen since `started`: before that, a job would be refused for want of one."""

    url: str
    token: str
    started: float

    def __call__(self) -> bool:
        status, body = get(f"{self.url}/v1/workers", self.token)
        if status in (401, 403):
            return True  # the API wants a token that we were not given; so we can't see more than that it runs
        if status != 200:
            return False
        seen = (datetime.fromisoformat(row["seen_at"]).timestamp() for row in json.loads(body)["items"])
        return any(moment >= self.started - 1 for moment in seen)  # SQL's clock may round


def _url(host: str, port: int) -> str:
    """Where this machine reaches an API that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
