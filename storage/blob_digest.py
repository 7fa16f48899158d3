"""Hashing on the way in and on the way out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import BlobCorrupt, NotFound, TooLarge

CHUNK = 1 << 20
"""Bytes read at a time: large enough that hashing, not the calls, is what costs."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Blob:
    """What a stored blob is known by."""

    digest: str
    """SHA-256 of the bytes, 64 lower-case hex characters: its address."""
    size: int
    """Bytes."""


def is_digest(text: str) -> bool:
    """Whether `text` can be a blob's address; anything else (a path, say) must not reach a store's names."""
    return _DIGEST.fullmatch(text) is not None


def missing(digest: str) -> NotFound:
    """The error for a blob that is not there."""
    return NotFound(f"There is no blob {digest}.", cure="Check the digest, or upload the bytes again.")


class Intake:
    """Counts and hashes bytes as they come in, and holds them to a limit and an expected digest."""

    def __init__(self, expect: str | None = None, limit: int | None = None) -> None:
        self._expect = expect
        self._limit = limit
        self._hash = hashlib.sha256()
        self._size = 0

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The same chunks, counted and hashed. Raises `TooLarge` before giving out the chunk that goes over."""
        for chunk in chunks:
            self._size += len(chunk)
            if self._limit is not None and self._size > self._limit:
                raise TooLarge(
                    f"More than the allowed {self._limit:,} bytes were sent.",
                    cure="Send less, or have the operator raise the limit (BURNISH_MAX_UPLOAD).",
                )
            self._hash.update(chunk)
            yield chunk

    def blob(self) -> Blob:
        """What came in. Raises `BlobCorrupt` if it is not what was expected."""
        digest = self._hash.hexdigest()
        if self._expect is not None and digest != self._expect:
            raise BlobCorrupt(
                f"The {self._size:,} bytes that arrived have SHA-256 {digest}, not the announced {self._expect}.",
                cure="Send them again; if it recurs, compute the digest anew from the file that is sent.",
            )
        return Blob(digest=digest, size=self._size)


def verified(chunks: Iterable[bytes], digest: str) -> Iterator[bytes]:
    """The chunks of a whole blob; after the last one raises `BlobCorrupt` if they don't have `digest`."""
    intake = Intake()
    yield from intake.through(chunks)
    found = intake.blob().digest
    if found != digest:
        raise damaged(digest, found)


def damaged(digest: str, found: str) -> BlobCorrupt:
    """The error for a blob whose bytes have another digest."""
    return BlobCorrupt(
        f"Blob {digest} is damaged: its bytes have SHA-256 {found}.",
        cure="Delete it and make it again: run its job once more, or upload the file again.",
        where=digest,
    )


def file_chunks(path: Path, start: int = 0, end: int | None = None, *, step: int = CHUNK) -> Iterator[bytes]:
    """The bytes of a file from `start` to before `end`, `step` at a time. Raises `OSError` of opening or reading it."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = None if end is None else end - start
        while chunk := file.read(step if left is None else min(step, left)):
            if left is not None:
                left -= len(chunk)
            yield chunk


def check_file(path: Path, digest: str) -> None:
    """Reads a file whole. Raises `BlobCorrupt` if its bytes don't have `digest`, the `OSError` of reading it."""
    with path.open("rb", buffering=0) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise damaged(digest, found)


def file_blob(path: Path) -> Blob:
    """What a file would be as a blob. Raises the `OSError` of reading it."""
    with path.open("rb", buffering=0) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Blob(digest=digest, size=file.tell())
