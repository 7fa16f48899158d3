"""A file that appears under its name whole, or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from burnish.errors import DiskFull, Unavailable

# EFBIG is what a limit on file sizes (RLIMIT_FSIZE, or the file system's own) gives: as full as it gets.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

SUFFIX = ".part"
"""Ends the name of every file that is still being written."""


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Translates the `OSError` of work in `folder` to `DiskFull` or `Unavailable`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"No space left in {folder} ({error.strerror}).", cure="Free some disk, or raise the limit, and retry."
            ) from error
        raise Unavailable(
            f"{folder} can't be used: {error}.", cure="Check that the disk is there and that its folder is writable."
        ) from error


class AtomicFile:
    """Writes to a temporary file in `folder`; `publish` gives it its name. Left without that, it is removed.

    `durable` makes `publish` wait until bytes and name are on the disk. Published files are read-only.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder = folder
        self._durable = durable
        self._temporary = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        with disk_errors(folder):
            self._file = self._temporary.open("xb")

    def __enter__(self) -> AtomicFile:
        return self

    def write(self, chunk: bytes) -> None:
        """Appends. Raises `DiskFull` or `Unavailable`."""
        with disk_errors(self._folder):
            self._file.write(chunk)

    def publish(self, target: Path) -> None:
        """Gives the file its name, on the same file system; another of that name is replaced in the same instant.

        Raises `DiskFull` or `Unavailable`.
        """
        with disk_errors(self._folder):
            self._file.flush()
            os.fchmod(self._file.fileno(), 0o444)
            if self._durable:
                os.fsync(self._file.fileno())
            self._file.close()
            target.parent.mkdir(parents=True, exist_ok=True)
            self._temporary.replace(target)
            if self._durable:
                _sync_folder(target.parent)
                _sync_folder(target.parent.parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk refuses the last buffer a second time; the first refusal was raised
            self._file.close()
        self._temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
