"""A file that appears under its name whole, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from types import TracebackType

from burnish.errors import DiskFull, Unavailable
from storage.blob_digest import Blob

# EFBIG is what a limit on file sizes (RLIMIT_FSIZE, or the file system's own) gives: as full as it gets.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_COPY = 8 << 20
"""Bytes that the kernel copies in one call."""
_READ = 256 << 10
"""Bytes hashed at a time: few enough to stay in the processor's cache."""

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
        self._synced = False
        self._temporary = folder / f"{uuid.uuid4().hex}{SUFFIX}"
        with disk_errors(folder):
            self._file = self._temporary.open("x+b")

    def __enter__(self) -> AtomicFile:
        return self

    def write(self, chunk: bytes) -> None:
        """Appends. Raises `DiskFull` or `Unavailable`."""
        with disk_errors(self._folder):
            self._file.write(chunk)
            self._synced = False

    def write_at(self, offset: int, data: bytes) -> None:
        """Puts bytes in their place; several threads may do so at once. Raises `DiskFull` or `Unavailable`."""
        self._synced = False
        left = memoryview(data)
        with disk_errors(self._folder):
            while left:
                written = os.pwrite(self._file.fileno(), left, offset)
                left, offset = left[written:], offset + written

    def copy(self, source: Path) -> Blob:
        """Appends a file, and reads back what was written for its digest, meanwhile.

        The kernel copies; a thread hashes behind it, and goes on while the disk is waited for. Raises `DiskFull` or
        `Unavailable`, the latter for a source that can't be read too.
        """
        written: Queue[int | None] = Queue()
        with disk_errors(self._folder), source.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as pool:
            hashing = pool.submit(self.hashed, iter(written.get, None))
            try:
                offset = 0
                while moved := _copy_some(file.fileno(), self._file.fileno(), offset):
                    offset += moved
                    written.put(offset)
            finally:
                written.put(None)
            self._sync()
            return hashing.result()

    def publish(self, target: Path) -> None:
        """Gives the file its name, on the same file system; another of that name is replaced in the same instant.

        Raises `DiskFull` or `Unavailable`.
        """
        with disk_errors(self._folder):
            self._file.flush()
            if not self._synced:
                self._sync()
            self._file.close()
            self._temporary.stat()  # where its folder is away by now, nothing is made in its place
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

    def _sync(self) -> None:
        os.fchmod(self._file.fileno(), 0o444)
        if self._durable:
            os.fsync(self._file.fileno())
        self._synced = True

    def hashed(self, ends: Iterable[int]) -> Blob:
        """Digest and size of what is in the file, read back up to each of the offsets as they come."""
        digest, done = hashlib.sha256(), 0
        buffer = memoryview(bytearray(_READ))
        for upto in ends:
            while done < upto:
                got = os.preadv(self._file.fileno(), [buffer[: min(_READ, upto - done)]], done)
                if not got:
                    raise OSError(errno.EIO, "what was written can't be read back")
                digest.update(buffer[:got])
                done += got
        return Blob(digest=digest.hexdigest(), size=done)


def _copy_some(source: int, target: int, offset: int) -> int:
    """Copies the next bytes of one file to the end of another; how many."""
    try:
        return os.sendfile(target, source, offset, _COPY)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
    data = os.pread(source, _COPY, offset)  # a file system that the kernel can't copy from by itself
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]
    return len(data)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
