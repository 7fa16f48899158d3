"""Multipart uploads: parts sent a few at a time; completed, aborted, or left for a later writer to resume."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from burnish.errors import TooLarge, Unavailable
from storage.s3_client import error_code, is_taken, s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, MultipartUploadTypeDef

PART = 16 << 20
"""Bytes per part: S3 takes at most 10,000 parts, so blobs reach 156 GiB."""

LANES = 3
"""Parts under way at once. Together with the one that is being filled, they are the memory that an upload takes."""

MOST_PARTS = 10_000


def in_parts(chunks: Iterable[bytes], size: int = PART) -> Iterator[bytes]:
    """The same bytes cut anew: every part has `size` bytes, only the last may have fewer. No bytes give no part."""
    pieces: list[bytes] = []
    held = 0
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            taken = rest[: size - held]
            pieces.append(bytes(taken) if len(taken) < len(chunk) else chunk)
            held += len(taken)
            rest = rest[len(taken) :]
            if held == size:
                part, pieces, held = b"".join(pieces), [], 0
                yield part
    if held:
        yield b"".join(pieces)


def uploads_to(client: S3Client, bucket: str, key: str) -> list[MultipartUploadTypeDef]:
    """The unfinished uploads to a key, oldest first. Raises `Unavailable`."""
    with s3_errors("looking for an earlier upload"):
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key)
        begun = [found for page in pages for found in page.get("Uploads", ()) if found["Key"] == key]
    return sorted(begun, key=lambda found: (found["Initiated"], found["UploadId"]))


def parts_of(client: S3Client, bucket: str, key: str, upload_id: str) -> dict[int, tuple[str, int]]:
    """ETag and size of each part that arrived, by number. Raises `Unavailable`, `UploadGone`."""
    with s3_errors("listing the parts of an upload"):
        try:
            pages = client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload_id)
            return {
                part["PartNumber"]: (part["ETag"], part["Size"]) for page in pages for part in page.get("Parts", ())
            }
        except ClientError as error:
            if error_code(error) == "NoSuchUpload":
                raise UploadGone from error
            raise


def abort(client: S3Client, bucket: str, key: str, upload_id: str) -> bool:
    """Ends an unfinished upload; false if another has ended it. Raises `Unavailable`."""
    with s3_errors("aborting an upload"):
        try:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        except ClientError as error:
            if error_code(error) in ("NoSuchUpload", "404", "NoSuchKey"):
                return False
            raise
    return True


class UploadGone(Exception):
    """The upload was completed or aborted by another writer of the same bytes. Never leaves the store."""


class Upload:
    """One multipart upload to `key`.

    Leaving the block without `complete` having published it aborts it; but one made by `resumed` is left as it is, so
    that the next writer of the same file goes on from there (`S3Blobs.sweep` aborts what nobody took up).
    """

    def __init__(self, client: S3Client, bucket: str, key: str, *, upload_id: str | None = None) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._etags: dict[int, str] = {}
        self._published = False
        self._kept = False
        self._arrived: Mapping[int, tuple[str, int]] = {}
        if upload_id is None:
            with s3_errors("starting an upload"):
                upload_id = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        self._id = upload_id

    @classmethod
    def resumed(cls, client: S3Client, bucket: str, key: str) -> Upload:
        """The newest unfinished upload to `key` with the parts that arrived, or a new one. Raises `Unavailable`."""
        earlier = [found["UploadId"] for found in uploads_to(client, bucket, key)]
        upload = cls(client, bucket, key, upload_id=earlier[-1] if earlier else None)
        upload._kept = True
        if earlier:
            upload._arrived = parts_of(client, bucket, key, upload._id)
        return upload

    def __enter__(self) -> Upload:
        return self

    def send(self, parts: Iterable[bytes]) -> None:
        """Sends parts, `LANES` at once, except those that arrived with an earlier writer.

        Raises `TooLarge` at S3's limit of parts, `Unavailable`, `UploadGone`, and whatever `parts` raises.
        """
        under_way: deque[Future[None]] = deque()
        with ThreadPoolExecutor(LANES, thread_name_prefix="s3-part") as pool:
            try:
                for data in parts:
                    number = self._next()
                    if self._has(number, data):
                        self._etags[number] = self._arrived[number][0]
                        continue
                    self._etags[number] = ""  # taken; filled in by the lane
                    if len(under_way) == LANES:
                        under_way.popleft().result()
                    under_way.append(pool.submit(self._send, number, data))
                    del data  # else one part more is held while the next is filled
                while under_way:
                    under_way.popleft().result()
            finally:
                for each in under_way:
                    each.cancel()

    def copy(self, source: str, start: int, end: int, etag: str | None = None) -> None:
        """Makes the bytes from `start` to before `end` of the object at key `source` the next part, inside S3; with
        `etag` only if it is that of the object."""
        number = self._next()
        condition: dict[str, Any] = {} if etag is None else {"CopySourceIfMatch": etag}
        with s3_errors("copying a part"):
            reply = self._client.upload_part_copy(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._id,
                PartNumber=number,
                CopySource={"Bucket": self._bucket, "Key": source},
                CopySourceRange=f"bytes={start}-{end - 1}",
                **condition,
            )
        self._etags[number] = reply["CopyPartResult"]["ETag"]

    def complete(self) -> bool:
        """Publishes the object if there is none at the key yet; gives whether it did. Raises `Unavailable`.

        False also when the upload is gone: a lost reply makes boto3 send the request again, after it had succeeded.
        So the caller looks what is at the key.
        """
        parts: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": etag} for number, etag in sorted(self._etags.items())
        ]
        with s3_errors("completing an upload"):
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._key,
                    UploadId=self._id,
                    MultipartUpload={"Parts": parts},
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if is_taken(error):
                    self._kept = False  # another writer was first: nobody will want these parts any more
                    return False
                if error_code(error) == "NoSuchUpload":
                    return False
                raise
        self._published = True
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._published and not self._kept:
            with suppress(Unavailable):  # what can't be aborted now, `sweep` aborts
                abort(self._client, self._bucket, self._key, self._id)

    def _send(self, number: int, data: bytes) -> None:
        with s3_errors("sending a part"):
            try:
                reply = self._client.upload_part(
                    Bucket=self._bucket, Key=self._key, UploadId=self._id, PartNumber=number, Body=data
                )
            except ClientError as error:
                if error_code(error) == "NoSuchUpload":
                    raise UploadGone from error
                raise
        self._etags[number] = reply["ETag"]

    def _has(self, number: int, data: bytes) -> bool:
        """Whether exactly these bytes arrived as that part: its ETag is their MD5 (with keys of one's own in S3 it is
        not, and then the part is sent again)."""
        there = self._arrived.get(number)
        if there is None or there[1] != len(data):
            return False
        return there[0].strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()

    def _next(self) -> int:
        if len(self._etags) == MOST_PARTS:
            raise TooLarge(
                f"A blob in S3 has at most {MOST_PARTS:,} parts of {PART >> 20} MiB.", cure="Send a smaller file."
            )
        return len(self._etags) + 1
