"""Finding, starting and stopping the embedded service from another process."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import Unavailable
from burnish.local.lock import holder
from burnish.local.logs import tail
from burnish.local.probe import get
from burnish.local.service import python, python_environment
from burnish.local.supervisor import LOGS, RUN_FILE

__all__ = ["RunningService", "ensure", "find", "stop"]

_START_SECONDS = 200.0
"""A little more than the supervisor gives itself, whose error says more than ours."""
_STOP_SECONDS = 90.0
_EXIT_SECONDS = 5.0
_POLL_SECONDS = 0.05
_LOG = "service.log"


@dataclass(frozen=True, kw_only=True)
class RunningService:
    """An embedded service that answers."""

    url: str
    """Without a trailing slash."""
    pid: int
    """Of its supervisor."""
    started: float
    """Epoch seconds."""


def find(data: Path) -> RunningService | None:
    """The ready service on a data folder; None if none runs there, or one that is still coming up."""
    try:
        document = json.loads((data / RUN_FILE).read_text(encoding="utf-8"))
        service = RunningService(url=str(document["url"]), pid=int(document["pid"]), started=float(document["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The file outlives a supervisor that was killed; the lock does not.
    if holder(data) != service.pid or get(f"{service.url}/healthz")[0] != 200:
        return None
    return service


def ensure(data: Path) -> RunningService:
    """The ready service on a data folder; started, in the background and for good, if none runs there.

    It takes the `BURNISH_*` variables of this process. Any number of processes may call this at once.

    Raises:
        Unavailable: it did not come up (with the end of its log), or only the client is installed.
    """
    service = find(data)
    if service is not None:
        return service
    _need_server()
    log = data / LOGS / _LOG
    pid, before = None, 0
    if holder(data) is None:
        pid, before = _spawn(data, log)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        service = find(data)
        if service is not None:
            _give_way(pid, service)
            return service
        # One that was started beside ours may have the lock: then ours has ended, and that one is waited for.
        if holder(data) is None and not _is_running(pid):
            break
        time.sleep(_POLL_SECONDS)
    raise Unavailable(
        f"The service did not start on {data}. The end of {log}:\n{tail(log, after=before)}\n",
        cure="Mend what the log names, or set BURNISH_URL to a running service; `burnish doctor` checks this machine.",
    )


def stop(data: Path) -> bool:
    """Stops the service on a data folder and waits until it is gone; gives whether one ran.

    Raises:
        Unavailable: it is another user's, or it does not end.
    """
    pid = holder(data)
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError as error:
        raise Unavailable(f"The service (process {pid}) is another user's.", cure="Stop it as that user.") from error
    deadline = time.monotonic() + _STOP_SECONDS
    while holder(data) == pid:
        if time.monotonic() > deadline:
            raise Unavailable(
                f"The service (process {pid}) did not end within {_STOP_SECONDS:.0f} s.",
                cure=f"Run `kill -9 {pid}`: all its processes end with it, and no accepted job is lost.",
            )
        time.sleep(_POLL_SECONDS)
    # The lock is let go a moment before the process ends. One whose parent never reaps it seems to run for ever.
    deadline = time.monotonic() + _EXIT_SECONDS
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return True


def _spawn(data: Path, log: Path) -> tuple[int, int]:
    """Starts it in a session of its own; gives its process id and the length of the log before."""
    environment = python_environment() | {name: os.environ[name] for name in os.environ if name.startswith("BURNISH_")}
    try:
        for folder in (data, log.parent):  # one by one: parents made on the way would be open to all
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output, open(os.devnull, "rb") as nothing:
            command = python("burnish.local")
            pid = os.posix_spawn(
                command[0],
                command,
                environment | {"BURNISH_DATA": str(data)},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0),
                    (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                    (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
                ],
                setsid=True,  # lives on when the terminal closes; and no Popen object complains that it does
            )
            return pid, output.tell()
    except OSError as error:
        raise Unavailable(
            f"The service can't be started on {data}: {error}.",
            cure="Make the folder writable, or set BURNISH_DATA to another one.",
        ) from error


def _give_way(pid: int | None, service: RunningService) -> None:
    """Ends the one we started if another has the folder: it would wait a moment for it, and come up after a `stop`."""
    if pid is not None and pid != service.pid and _is_running(pid):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _is_running(pid: int | None) -> bool:
    """Whether our own child still runs; reaps it if not."""
    if pid is None:
        return False
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _is_alive(pid: int) -> bool:
    """Whether any process has this number; our own child is reaped."""
    if _is_running(pid):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _need_server() -> None:
    if importlib.util.find_spec("celery") is None:
        raise Unavailable(
            "No service is running on this machine, and only the client is installed.",
            cure="Set BURNISH_URL to a running service, or install one: `pip install 'burnish[server]'`.",
        )
