"""Who may run on this host: many ordinary steps, or one that must be alone, across all workers of the machine.

Rules:

1. Ordinary steps hold the `host` file shared, a step that must be alone holds it exclusively.
2. Everyone takes the `gate` first. An ordinary step lets go of it once it is in; a step that must be alone keeps it
   while it waits, so that no new ones come in meanwhile: it waits for those that run, not for ever.
3. Locks are the kernel's (`flock`): a worker that is killed lets go of all of them.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["HostLock", "default_folder"]


def default_folder() -> Path:
    """One folder for all workers of this user on this host."""
    return Path(tempfile.gettempdir()) / f"burnish-{os.getuid()}"


class HostLock:
    """Safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to somebody else")
        self._gate, self._host = folder / "gate", folder / "host"

    @contextmanager
    def hold(self, alone: bool, pause: Callable[[float], bool]) -> Iterator[bool]:
        """Waits for a place on the host, and holds it.

        Args:
            pause: sleeps that many seconds; true to give up waiting.

        Yields:
            False if waiting was given up.
        """
        gate, host = _open(self._gate), _open(self._host)
        try:
            inside = _wait(gate, fcntl.LOCK_EX, pause) and _wait(host, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, pause)
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield inside
        finally:
            os.close(gate)
            os.close(host)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _wait(descriptor: int, kind: int, pause: Callable[[float], bool]) -> bool:
    delay = 0.002
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if pause(delay):
                return False
            delay = min(2 * delay, 0.1)
