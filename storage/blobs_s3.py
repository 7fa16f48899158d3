"""Blobs in S3 or anything that speaks its protocol with conditional writes."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from botocore.exceptions import ClientError

from burnish.errors import BlobCorrupt, NotFound
from storage.atomic_file import AtomicFile, disk_errors
from storage.blob_digest import CHUNK, Blob, Intake, file_chunks, is_digest, missing, verified
from storage.blobs import BlobStore
from storage.s3_client import connect, is_taken, s3_errors
from storage.s3_reader import BUFFER, RangeReader
from storage.s3_upload import Upload, in_parts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Blobs"]

_COPY_PART = 1 << 30
"""Bytes per part of a copy inside S3, which may have up to 5 GiB; the last one takes what is left over."""


class S3Blobs(BlobStore):
    """One object per blob, `<prefix>/sha256/<digest>`, written by conditional requests only, so never overwritten.

    A blob of one part is one PUT. A larger one is a multipart upload: to its own key if its digest was announced;
    else to `<prefix>/incoming/<random>`, as S3 wants the key first and the digest is known last, and from there it is
    copied inside S3. Parts are sent one after the other, which bounds the memory.
    """

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    @classmethod
    def at(cls, url: str) -> S3Blobs:
        """The store at an `s3://` address. Raises `BadSetting`; sends nothing yet."""
        return cls(*connect(url))

    def put(self, chunks: Iterable[bytes], *, expect: str | None = None, limit: int | None = None) -> Blob:
        intake = Intake(expect, limit)
        if expect is not None and self.size(expect) is not None:
            for _ in intake.through(chunks):
                pass  # nothing need be sent again, but the caller must have the bytes it says it has
            return self._present(intake.blob())
        parts = in_parts(intake.through(chunks))
        first, second = next(parts, b""), next(parts, None)
        if second is None:
            return self._put_small(first, intake.blob())
        key = self._key(expect) if expect is not None else f"{self._prefix}incoming/{uuid.uuid4().hex}"
        with Upload(self._client, self._bucket, key) as upload:
            upload.add(first)
            upload.add(second)
            del first, second
            for part in parts:
                upload.add(part)
            blob = intake.blob()
            published = upload.complete()
        if expect is None:
            self._move(key, blob)
        elif not published:
            self._present(blob)
        return blob

    def put_file(self, path: Path) -> Blob:
        """Reads the file twice, first for its digest: so a blob that is there already is not sent at all."""
        intake = Intake()
        for _ in intake.through(file_chunks(path)):
            pass
        return self.put(file_chunks(path), expect=intake.blob().digest)

    def open(self, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        size = self._existing_size(digest)
        stop = size if end is None else min(end, size)
        chunks = self._chunks(digest, start, stop)
        return verified(chunks, digest) if start == 0 and stop == size else chunks

    def fetch(self, digest: str, folder: Path) -> Path:
        target = folder / digest
        if is_digest(digest) and _is_whole(target, digest):
            return target
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with AtomicFile(folder, durable=False) as file:
            for chunk in self.open(digest):
                file.write(chunk)
            file.publish(target)
        return target

    def reader(self, digest: str) -> BinaryIO:
        size = self._existing_size(digest)

        def read_range(start: int, end: int) -> bytes:
            return b"".join(self._chunks(digest, start, end))

        return io.BufferedReader(RangeReader(read_range, size), BUFFER)

    def size(self, digest: str) -> int | None:
        if not is_digest(digest):
            return None
        try:
            with s3_errors("asking for a blob", digest):
                return self._client.head_object(Bucket=self._bucket, Key=self._key(digest))["ContentLength"]
        except NotFound:
            return None

    def delete(self, digest: str) -> None:
        if is_digest(digest):
            self._delete(self._key(digest))

    def sweep(self, older_than: float) -> int:
        """Aborts uploads that began, and deletes incoming objects that were written, that long ago."""
        before = time.time() - older_than
        count = 0
        with s3_errors("sweeping"):
            for uploads in self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            ):
                for upload in uploads.get("Uploads", ()):
                    if upload["Initiated"].timestamp() < before:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                        )
                        count += 1
            for objects in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}incoming/"
            ):
                for found in objects.get("Contents", ()):
                    if found["LastModified"].timestamp() < before:
                        self._delete(found["Key"])
                        count += 1
        return count

    def _key(self, digest: str) -> str:
        return f"{self._prefix}sha256/{digest}"

    def _put_small(self, data: bytes, blob: Blob) -> Blob:
        with s3_errors("writing a blob"):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._key(blob.digest), Body=data, IfNoneMatch="*")
            except ClientError as error:
                if not is_taken(error):
                    raise
                return self._present(blob)
        return blob

    def _move(self, key: str, blob: Blob) -> None:
        """Publishes the incoming object at `key` under its digest, and removes it."""
        try:
            if self.size(blob.digest) is None:
                with Upload(self._client, self._bucket, self._key(blob.digest)) as upload:
                    for start in range(0, blob.size, _COPY_PART):
                        upload.copy(key, start, min(start + _COPY_PART, blob.size))
                    upload.complete()
            self._present(blob)
        finally:
            self._delete(key)

    def _present(self, blob: Blob) -> Blob:
        """The blob, after a look that what another writer published under its digest has its size."""
        size = self.size(blob.digest)
        if size != blob.size:
            raise BlobCorrupt(
                f"Blob {blob.digest} is in S3 with {size} bytes in place of {blob.size}.",
                cure="Delete it and send the bytes again.",
                where=blob.digest,
            )
        return blob

    def _existing_size(self, digest: str) -> int:
        size = self.size(digest)
        if size is None:
            raise missing(digest)
        return size

    def _chunks(self, digest: str, start: int, end: int) -> Iterator[bytes]:
        if start >= end:
            return
        with s3_errors("reading a blob", digest):
            body = self._client.get_object(
                Bucket=self._bucket, Key=self._key(digest), Range=f"bytes={start}-{end - 1}"
            )["Body"]
            try:
                while chunk := body.read(CHUNK):
                    yield chunk
            finally:
                body.close()

    def _delete(self, key: str) -> None:
        with s3_errors("deleting"):
            self._client.delete_object(Bucket=self._bucket, Key=key)


def _is_whole(path: Path, digest: str) -> bool:
    """Whether an earlier fetch left a file there that still has its hash."""
    if not path.exists():
        return False
    try:
        for _ in verified(file_chunks(path), digest):
            pass
    except BlobCorrupt:
        return False
    return True
