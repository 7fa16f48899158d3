"""Scratch folders of a worker, which never outlive it for long."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Scratch"]

_LOCK = "lock"


class Scratch:
    """One worker's folder under `root`; a file lock in it tells the living from the dead.

    Making one removes what dead workers left.
    """

    def __init__(self, root: Path, worker_id: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._folder = root / worker_id
        with _locked(root / _LOCK):  # nobody sweeps between our folder and our lock on it
            _sweep(root)
            self._folder.mkdir(mode=0o700)
            self._held = _open(self._folder / _LOCK)
            fcntl.flock(self._held, fcntl.LOCK_EX)

    @contextmanager
    def attempt(self, name: str) -> Iterator[Path]:
        """A folder for one attempt, laid out as `workers/child.py` says; removed at the end, whatever happened."""
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("work", "tmp", "inputs", "told"):
            (folder / part).mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # a child that is just dying may still write: swept at next start

    def close(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._held)


def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        if not folder.is_dir():
            continue
        lock = folder / _LOCK
        descriptor = _open(lock) if lock.exists() else None
        try:
            if descriptor is None or _try_lock(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            if descriptor is not None:
                os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
