"""Blobs in S3 or anything that speaks its protocol with conditional writes."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, urlsplit

from botocore.exceptions import ClientError

from burnish.errors import BlobCorrupt, NotFound, Unavailable
from storage.atomic_file import AtomicFile, disk_errors
from storage.blob_digest import (
    CHUNK,
    Blob,
    Intake,
    check_file,
    damaged,
    file_blob,
    file_chunks,
    is_digest,
    missing,
    verified,
)
from storage.blobs import Before, BlobStore
from storage.read_ahead import read_ahead
from storage.s3_client import connect, is_taken, public_client, s3_errors
from storage.s3_direct import S3DirectFile
from storage.s3_reader import BUFFER, RangeReader
from storage.s3_upload import LANES, PART, Upload, UploadGone, abort, in_parts

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

__all__ = ["S3Blobs"]

_STEP = 256 << 10
"""Bytes that a lane of a download has in memory: few, so that the same memory is used over and over."""
_TRIES = 3
_COPY_PART = 256 << 20
"""Bytes per part of a copy inside S3, which answers when it is done; the last one takes what is left over."""


class S3Blobs(BlobStore):
    """One object per blob, `<prefix>/sha256/<digest>`, written by conditional requests only, so never overwritten.

    A blob of one part is one PUT. A larger one is a multipart upload: to its own key if its digest was announced;
    else to `<prefix>/incoming/<random>`, as S3 wants the key first and the digest is known last, and from there it is
    copied inside S3. A few parts are sent at once, which bounds the memory.
    """

    def __init__(self, client: S3Client, bucket: str, prefix: str, public: S3Client | None = None) -> None:
        """`public` is a client of the address by which others reach the server, for links."""
        self._client = client
        self._public = public or client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    @classmethod
    def at(cls, url: str) -> S3Blobs:
        """The store at an `s3://` address. Raises `BadSetting`; sends nothing yet."""
        return cls(*connect(url), public_client(url))

    def put(
        self,
        chunks: Iterable[bytes],
        *,
        expect: str | None = None,
        limit: int | None = None,
        before: Before | None = None,
    ) -> Blob:
        intake = Intake(expect, limit)
        if expect is not None and self.size(expect) is not None:
            for _ in intake.through(chunks):
                pass  # nothing need be sent again, but the caller must have the bytes it says it has
            return self._present(_announced(intake, before))
        parts = in_parts(intake.through(chunks))
        first, second = next(parts, b""), next(parts, None)
        if second is None:
            return self._put_small(first, _announced(intake, before))
        key = self._key(expect) if expect is not None else f"{self._prefix}incoming/{uuid.uuid4().hex}"
        with Upload(self._client, self._bucket, key) as upload:
            head = [second, first]
            del first, second  # so that `head` alone holds them
            published = self._sent(upload, _chained(head, parts))
            blob = _announced(intake, before)
            published = published and upload.complete()
        if expect is None:
            self._move(key, blob)
        elif not published:
            self._present(blob)
        return blob

    def put_file(self, path: Path, *, before: Before | None = None) -> Blob:
        """Reads the file twice, first for its digest: so a blob that is there already is not sent at all, and parts
        that arrived from a writer that was killed are not sent again."""
        blob = file_blob(path)
        for _ in range(_TRIES):
            if before is not None:
                before(blob)
            if self.size(blob.digest) is not None:
                return self._present(blob)
            if blob.size <= PART:
                return self.put(file_chunks(path), expect=blob.digest, before=before)
            with suppress(UploadGone):
                return self._resume(path, blob, before)
        raise Unavailable(
            f"Other writers of blob {blob.digest} ended its upload {_TRIES} times.", cure="Send the file again."
        )

    def link(self, digest: str, *, name: str, seconds: int) -> str:
        with s3_errors("signing a link"):
            return self._public.generate_presigned_url(
                "get_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": self._key(digest),
                    "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
                    "ResponseContentType": "application/octet-stream",
                },
                ExpiresIn=seconds,
            )

    def direct(self, id: str) -> S3DirectFile:
        key = f"{self._prefix}incoming/{id}"
        return S3DirectFile(self._client, self._public, self._bucket, key, partial(self._copy, key))

    def direct_origin(self) -> str:
        address = urlsplit(self._public.meta.endpoint_url)
        return f"{address.scheme}://{address.netloc}"

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
            found = file.hashed(self._into(file, digest)).digest
            if found != digest:
                raise damaged(digest, found)
            file.publish(target)
        return target

    def reader(self, digest: str) -> BinaryIO:
        size = self._existing_size(digest)
        return io.BufferedReader(RangeReader(partial(self._range, digest), size), BUFFER)

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
        """Aborts uploads that began, and deletes incoming objects that were written, that long ago; nothing of others
        with whom the bucket is shared."""
        before = time.time() - older_than
        count = self._abort("sha256/", before) + self._abort("incoming/", before)
        with s3_errors("sweeping"):
            for objects in self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}incoming/"
            ):
                for found in objects.get("Contents", ()):
                    if found["LastModified"].timestamp() < before:
                        self._delete(found["Key"])
                        count += 1
        return count

    def _abort(self, folder: str, before: float) -> int:
        """Aborts the uploads to keys in a folder of ours that began before that time; how many."""
        with s3_errors("looking for old uploads"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=f"{self._prefix}{folder}"
            )
            begun = [upload for page in pages for upload in page.get("Uploads", ())]
        old = [upload for upload in begun if upload["Initiated"].timestamp() < before]
        return sum(abort(self._client, self._bucket, upload["Key"], upload["UploadId"]) for upload in old)

    def _key(self, digest: str) -> str:
        return f"{self._prefix}sha256/{digest}"

    def _resume(self, path: Path, blob: Blob, before: Before | None) -> Blob:
        """Sends what of the file has not arrived yet. Raises `UploadGone` if another writer ended the upload."""
        again = Intake(blob.digest)
        with Upload.resumed(self._client, self._bucket, self._key(blob.digest)) as upload:
            upload.send(in_parts(again.through(file_chunks(path, step=PART))))
            _announced(again, before)
            if not upload.complete():
                self._present(blob)
        return blob

    def _sent(self, upload: Upload, parts: Iterator[bytes]) -> bool:
        """Sends the parts; false if another writer of the same announced bytes ended the upload meanwhile. Then the
        rest is read all the same: the caller must have the bytes it says it has."""
        try:
            upload.send(parts)
        except UploadGone:
            for _ in parts:
                pass
            return False
        return True

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
            self._copy(key, blob)
        finally:
            self._delete(key)

    def _copy(self, key: str, blob: Blob, etag: str | None = None) -> Blob:
        """Publishes the object at `key` (with `etag` only that one) under the digest of its bytes."""
        if self.size(blob.digest) is None:
            with Upload(self._client, self._bucket, self._key(blob.digest)) as upload:
                for start in range(0, blob.size, _COPY_PART):
                    upload.copy(key, start, min(start + _COPY_PART, blob.size), etag)
                upload.complete()
        return self._present(blob)

    def _present(self, blob: Blob) -> Blob:
        """The blob, after a look that what another writer published under its digest has its size."""
        size = self.size(blob.digest)
        if size is None:
            raise Unavailable(f"Blob {blob.digest} was removed while it was sent.", cure="Send the bytes again.")
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
            with s3_errors("looking for the bucket"):  # a HEAD for an object has the same answer without one
                self._client.head_bucket(Bucket=self._bucket)
            raise missing(digest)
        return size

    def _chunks(self, digest: str, start: int, end: int, step: int = CHUNK) -> Iterator[bytes]:
        if start >= end:
            return
        with s3_errors("reading a blob", digest), closing(self._body(digest, start, end)) as body:
            while chunk := body.read(step):
                yield chunk

    def _into(self, file: AtomicFile, digest: str) -> Iterator[int]:
        """Writes the whole blob to the file, a few ranges at once; gives the offsets up to which all of it is there."""
        size = self._existing_size(digest)

        def part(start: int) -> int:
            at = start
            for chunk in self._chunks(digest, start, min(start + PART, size), step=_STEP):
                file.write_at(at, chunk)
                at += len(chunk)
            return at

        return read_ahead((partial(part, start) for start in range(0, size, PART)), LANES)

    def _range(self, digest: str, start: int, end: int) -> bytes:
        with s3_errors("reading a blob", digest), closing(self._body(digest, start, end)) as body:
            return body.read()  # in one call: piece by piece costs several copies of each byte

    def _body(self, digest: str, start: int, end: int) -> StreamingBody:
        key = self._key(digest)
        return self._client.get_object(Bucket=self._bucket, Key=key, Range=f"bytes={start}-{end - 1}")["Body"]

    def _delete(self, key: str) -> None:
        with s3_errors("deleting"):
            self._client.delete_object(Bucket=self._bucket, Key=key)


def _announced(intake: Intake, before: Before | None) -> Blob:
    """What came in, after `before` was told."""
    blob = intake.blob()
    if before is not None:
        before(blob)
    return blob


def _chained(head: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    """The parts of `head` from its end on, each let go when it is given out, then the rest."""
    while head:
        yield head.pop()
    yield from rest


def _is_whole(path: Path, digest: str) -> bool:
    """Whether an earlier fetch left a file there that still has its hash."""
    if not path.exists():
        return False
    try:
        check_file(path, digest)
    except BlobCorrupt:
        return False
    return True
