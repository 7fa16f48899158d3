"""One service per data folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from burnish.errors import Conflict, Unavailable

__all__ = ["hold", "holder"]

_NAME = "lock"


@contextmanager
def hold(data: Path) -> Iterator[None]:
    """Makes the data folder if needed and is its only holder in the block; the kernel lets go when a holder dies.

    Raises:
        Conflict: another process holds it.
        Unavailable: the folder can't be made or written.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(data / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(
            f"The data folder {data} can't be used: {error.strerror}.",
            cure="Make it writable, or set BURNISH_DATA to another folder.",
        ) from error
    try:
        if not _take(descriptor):
            raise Conflict(
                f"A service is running on {data} already (process {_read_pid(descriptor) or 'unknown'}).",
                cure="Use that one, stop it with `burnish down`, or set BURNISH_DATA to another folder.",
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(data: Path) -> int | None:
    """Process id of the service that holds the folder, None if none does."""
    try:
        descriptor = os.open(data / _NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                if (pid := _read_pid(descriptor)) is not None:
                    return pid
            time.sleep(0.01)  # it was taken this instant, and its number is not written yet
        return None
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Tries for a second: `holder` takes the lock for an instant to see whether it is free."""
    deadline = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
        time.sleep(0.02)


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0)
    return int(text) if text.isdigit() else None
