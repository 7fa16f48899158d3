"""The content-addressed store: bytes are kept under the SHA-256 of themselves, and never change.

Rules that every store keeps (`tests/storage/blobs` holds both to them):

1. A blob becomes visible at once and whole, or not at all, whenever its writer fails or is killed.
2. What is written was hashed on the way in; what is read whole is hashed on the way out.
3. Writing the same bytes again changes nothing and gives the same `Blob`.
4. Memory is bounded by a part (16 MiB and a few of them), whatever the blob's size.
5. `before` is called with the blob when its digest is known, before it is published or found to be there already. What
   has noted it then (`storage/blob_index.py: hold`) is safe from the collector from there on; if `before` raises,
   nothing is published.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable
from urllib.parse import unquote, urlsplit

from burnish.errors import BadSetting
from storage.blob_digest import Blob

__all__ = ["Before", "Blob", "BlobStore", "Direct", "DirectFile", "Linked", "open_store"]

Before = Callable[[Blob], object]
"""Called with a blob that is about to be published; may be called again for the same one."""


class BlobStore(ABC):
    """Where blobs live. All methods may be called from several threads and processes at once."""

    @abstractmethod
    def put(
        self,
        chunks: Iterable[bytes],
        *,
        expect: str | None = None,
        limit: int | None = None,
        before: Before | None = None,
    ) -> Blob:
        """Stores the concatenation of `chunks`. An exception of the iterable passes through, and nothing is stored.

        `expect` is the digest the bytes must have, `limit` the most bytes to take, `before` as in rule 5.

        Raises:
            TooLarge: there are more than `limit` bytes.
            BlobCorrupt: the bytes don't have the digest `expect`.
            DiskFull: no space left.
            Unavailable: the store can't be reached.
        """

    @abstractmethod
    def put_file(self, path: Path, *, before: Before | None = None) -> Blob:
        """Stores a copy of a file. Raises like `put`. In S3 it goes on where an earlier writer of it was killed."""

    @abstractmethod
    def open(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in chunks; both are cut to the blob's size.

        Raises:
            NotFound: there is no such blob (raised by the call itself, before the first chunk).
            BlobCorrupt: raised after the last chunk, if the whole blob was read and does not have its digest.
            Unavailable: the store can't be reached.
        """

    @abstractmethod
    def fetch(self, digest: str, folder: Path) -> Path:
        """A read-only local file with the blob's bytes, hash checked; fetched before into `folder`, it is used again.

        The local store makes a hard link named by the digest in `folder`, or on another file system gives its own
        file. Never write through the path.

        Raises:
            NotFound, BlobCorrupt, Unavailable: as for `open`.
            DiskFull: no space left in `folder`.
        """

    @abstractmethod
    def reader(self, digest: str) -> BinaryIO:
        """A seekable file over the blob that reads only the ranges asked for. The hash is not checked.

        Raises `NotFound` or `Unavailable`, its reads `Unavailable`.
        """

    @abstractmethod
    def size(self, digest: str) -> int | None:
        """The blob's size in bytes, None if there is none (or if `digest` is not a digest)."""

    @abstractmethod
    def delete(self, digest: str) -> None:
        """Removes the blob. One that is not there is no error."""

    @abstractmethod
    def sweep(self, older_than: float) -> int:
        """Removes what writers that died more than `older_than` seconds ago left behind; gives the count."""


@runtime_checkable
class Linked(Protocol):
    """A store from which a client can read by itself."""

    def link(self, digest: str, *, name: str, seconds: int) -> str:
        """A URL that gives the blob to whoever has it, for so long; ranges may be asked for. Sends nothing.

        `name` is the file name that a browser is offered.
        """


class DirectFile(ABC):
    """A file that its sender puts into the store by itself, part by part, by links that were made for it."""

    @abstractmethod
    def missing(self, sizes: Mapping[int, int]) -> list[int]:
        """Which of the parts (bytes by number, from 1) have not arrived with that length. Raises `Unavailable`."""

    @abstractmethod
    def links(self, sizes: Mapping[int, int], seconds: int) -> dict[int, str]:
        """A URL for each of the parts, by number: a PUT of so many bytes to it within so many seconds is the part; sent
        again, it takes the place of the earlier one. Raises `Unavailable`."""

    @abstractmethod
    def publish(self, size: int, *, expect: str | None = None, before: Before | None = None) -> Blob:
        """Puts the parts together, reads all of it for its digest, and publishes it as a blob. Call it when no part is
        missing. `before` is as in rule 5 of this module.

        Raises:
            BlobCorrupt: not `size` bytes, or not of the digest `expect`; then nothing of it is left.
            Unavailable: the store can't be reached, or another call ended it meanwhile. What has arrived stays.
        """

    @abstractmethod
    def drop(self) -> None:
        """Removes what has arrived. Raises `Unavailable`."""


@runtime_checkable
class Direct(Protocol):
    """A store to which a client can write by itself."""

    def direct(self, id: str) -> DirectFile:
        """The file that is sent under this id, begun or not. Sends nothing."""

    def direct_origin(self) -> str:
        """Scheme, host and port of the links."""


def open_store(url: str) -> BlobStore:
    """The store at `file:///absolute/path` or `s3://bucket/prefix?endpoint=https://…&region=…`.

    S3 takes its credentials from the usual AWS variables. The bucket must exist, the folder is made.
    Raises `BadSetting` for an address that can't be used, `Unavailable` for a folder that can't be made.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        from storage.blobs_local import LocalBlobs

        return LocalBlobs(Path(unquote(parts.path)))
    if parts.scheme == "s3":
        from storage.blobs_s3 import S3Blobs  # imported here: boto3 costs half a second that a local store need not pay

        return S3Blobs.at(url)
    raise BadSetting(
        f"{url!r} is not the address of a blob store.",
        cure="Set BURNISH_BLOBS_URL to file:///absolute/path or s3://bucket/prefix?endpoint=…&region=….",
        where="BURNISH_BLOBS_URL",
    )
