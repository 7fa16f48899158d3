"""Blobs in a folder of this machine, or on a file system that all machines mount."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from burnish.errors import NotFound
from storage.atomic_file import SUFFIX, AtomicFile, disk_errors
from storage.blob_digest import Blob, Intake, check_file, file_chunks, is_digest, missing, verified
from storage.blobs import Before, BlobStore

__all__ = ["LocalBlobs"]


class LocalBlobs(BlobStore):
    """One read-only file per blob: `<root>/<first two characters>/<digest>`.

    A writer fills `<root>/incoming/<random>.part`, syncs it, and renames it to its digest. The rename replaces an
    earlier file of the same bytes in one instant (so it also mends one that was damaged), and readers that hold the
    earlier one keep it.

    A blob is missing only if `incoming` is there: the folder of a file system that is not mounted just now has neither.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"
        with disk_errors(root):
            self._incoming.mkdir(parents=True, exist_ok=True)

    def put(
        self,
        chunks: Iterable[bytes],
        *,
        expect: str | None = None,
        limit: int | None = None,
        before: Before | None = None,
    ) -> Blob:
        intake = Intake(expect, limit)
        with AtomicFile(self._incoming, durable=True) as file:
            for chunk in intake.through(chunks):
                file.write(chunk)
            blob = intake.blob()
            if before is not None:
                before(blob)
            file.publish(self._path(blob.digest))
        return blob

    def put_file(self, path: Path, *, before: Before | None = None) -> Blob:
        with AtomicFile(self._incoming, durable=True) as file:
            blob = file.copy(path)
            if before is not None:
                before(blob)
            file.publish(self._path(blob.digest))
        return blob

    def open(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        size = self.size(digest)
        if size is None:
            raise missing(digest)
        stop = size if end is None else min(end, size)
        chunks = self._chunks(digest, start, max(start, stop))
        return verified(chunks, digest) if start == 0 and stop == size else chunks

    def fetch(self, digest: str, folder: Path) -> Path:
        if not is_digest(digest):
            raise missing(digest)
        with disk_errors(self._root), self._not_found(digest):
            check_file(self._path(digest), digest)
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return _linked(self._path(digest), folder / digest)

    def reader(self, digest: str) -> BinaryIO:
        if not is_digest(digest):
            raise missing(digest)
        with disk_errors(self._root), self._not_found(digest):
            return self._path(digest).open("rb")

    def size(self, digest: str) -> int | None:
        if not is_digest(digest):
            return None
        with disk_errors(self._root):
            try:
                return self._path(digest).stat().st_size
            except FileNotFoundError:
                self._look()
                return None

    def delete(self, digest: str) -> None:
        if is_digest(digest):
            with disk_errors(self._root), suppress(NotFound), self._not_found(digest):
                self._path(digest).unlink()

    def sweep(self, older_than: float) -> int:
        """A living writer renews its file's time with every write, so the age is that of its last sign of life."""
        count = 0
        with disk_errors(self._incoming):
            for path in self._incoming.glob(f"*{SUFFIX}"):
                try:
                    if path.stat().st_mtime < time.time() - older_than:
                        path.unlink()
                        count += 1
                except FileNotFoundError:
                    continue  # its writer published it, or another sweep was faster
        return count

    def _path(self, digest: str) -> Path:
        return self._root / digest[:2] / digest

    def _chunks(self, digest: str, start: int, end: int) -> Iterator[bytes]:
        with disk_errors(self._root), self._not_found(digest):
            yield from file_chunks(self._path(digest), start, end)

    @contextmanager
    def _not_found(self, digest: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            self._look()
            raise missing(digest) from error

    def _look(self) -> None:
        """Raises an `OSError` if the store is not there."""
        self._incoming.stat()


def _linked(own: Path, target: Path) -> Path:
    """`target` as another name of the file `own`, or `own` itself where a hard link is not possible."""
    with suppress(FileNotFoundError):
        if target.samefile(own):
            return target
    # Linked under a temporary name first: another process may be using a `target` of an earlier fetch.
    temporary = target.with_name(f"{uuid.uuid4().hex}{SUFFIX}")
    try:
        os.link(own, temporary)
        temporary.replace(target)
    except OSError:  # another file system, or one without hard links: the store's own file serves as well
        return own
    finally:
        temporary.unlink(missing_ok=True)  # a rename onto a link of the same file does nothing
    return target
