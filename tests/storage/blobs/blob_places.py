"""Where the stores under test keep their things, and bytes to put there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from storage.blobs import BlobStore

__all__ = ["LARGE", "MIB", "Place", "child_of", "pieces", "read", "sha256"]


ROOT = Path(__file__).parents[3]


MIB = 1 << 20


LARGE = 33 * MIB
"""Three parts in S3."""


@dataclass(frozen=True)
class Place:
    """Where a store under test keeps its things, and how to look behind it."""

    url: str
    store: BlobStore
    kind: str
    environment: dict[str, str] = field(default_factory=dict)

    def damage(self, digest: str, data: bytes) -> None:
        """Puts other bytes in the place of a blob, past the store."""
        if self.kind == "local":
            path = Path(self.url.removeprefix("file://")) / digest[:2] / digest
            path.chmod(0o644)
            path.write_bytes(data)
        else:
            self.client().put_object(Bucket="burnish", Key=f"{self.prefix}/sha256/{digest}", Body=data)

    def names(self) -> list[str]:
        """Every file or object of the store, uploads under way included."""
        if self.kind == "local":
            return [path.name for path in Path(self.url.removeprefix("file://")).rglob("*") if path.is_file()]
        objects = self.client().list_objects_v2(Bucket="burnish", Prefix=self.prefix + "/").get("Contents", [])
        uploads = self.client().list_multipart_uploads(Bucket="burnish", Prefix=self.prefix + "/").get("Uploads", [])
        return [found["Key"].rpartition("/")[2] for found in [*objects, *uploads]]

    def client(self):  # type: ignore[no-untyped-def]  # boto3's own type is known to type checkers only
        from storage.s3_client import connect

        return connect(self.url)[0]

    @property
    def prefix(self) -> str:
        return self.url.removeprefix("s3://burnish/").partition("?")[0]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pieces(size: int, step: int = MIB) -> Iterator[bytes]:
    """Bytes that differ from place to place."""
    for start in range(0, size, step):
        yield (start.to_bytes(8, "big") * (step // 8))[: size - start]


def read(store: BlobStore, digest: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(store.open(digest, start, end))


def child_of(place: Place, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.blobs.blob_writers", what, place.url],
        cwd=ROOT,
        env={**os.environ, **place.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
