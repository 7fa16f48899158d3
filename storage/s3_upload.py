"""A multipart upload that is either completed or aborted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from burnish.errors import TooLarge, Unavailable
from storage.s3_client import error_code, is_taken, s3_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 16 << 20
"""Bytes per part: S3 takes at most 10,000 parts, so blobs reach 156 GiB."""

MOST_PARTS = 10_000


def in_parts(chunks: Iterable[bytes], size: int = PART) -> Iterator[bytes]:
    """The same bytes cut anew: every part has `size` bytes, only the last may have fewer. No bytes give no part."""
    part = bytearray()
    for chunk in chunks:
        rest = memoryview(chunk)
        while rest:
            taken = rest[: size - len(part)]
            part += taken
            rest = rest[len(taken) :]
            if len(part) == size:
                yield bytes(part)
                part.clear()
    if part:
        yield bytes(part)


class Upload:
    """One multipart upload to `key`. Leaving the block without `complete` having published it aborts it."""

    def __init__(self, client: S3Client, bucket: str, key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._parts: list[CompletedPartTypeDef] = []
        self._published = False
        with s3_errors("starting an upload"):
            self._id = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]

    def __enter__(self) -> Upload:
        return self

    def add(self, data: bytes) -> None:
        """Sends the next part. Raises `TooLarge` at S3's limit of parts, `Unavailable`."""
        number = self._next()
        with s3_errors("sending a part"):
            reply = self._client.upload_part(
                Bucket=self._bucket, Key=self._key, UploadId=self._id, PartNumber=number, Body=data
            )
        self._parts.append({"PartNumber": number, "ETag": reply["ETag"]})

    def copy(self, source: str, start: int, end: int) -> None:
        """Makes the bytes from `start` to before `end` of the object at key `source` the next part, inside S3."""
        number = self._next()
        with s3_errors("copying a part"):
            reply = self._client.upload_part_copy(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._id,
                PartNumber=number,
                CopySource={"Bucket": self._bucket, "Key": source},
                CopySourceRange=f"bytes={start}-{end - 1}",
            )
        self._parts.append({"PartNumber": number, "ETag": reply["CopyPartResult"]["ETag"]})

    def complete(self) -> bool:
        """Publishes the object if there is none at the key yet; gives whether it did. Raises `Unavailable`.

        False also when the upload is gone: a lost reply makes boto3 send the request again, after it had succeeded.
        So the caller looks what is at the key.
        """
        with s3_errors("completing an upload"):
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._key,
                    UploadId=self._id,
                    MultipartUpload={"Parts": self._parts},
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if is_taken(error) or error_code(error) == "NoSuchUpload":
                    return False
                raise
        self._published = True
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._published:
            with suppress(Unavailable), s3_errors("aborting an upload"):  # what can't be aborted now, `sweep` aborts
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._id)

    def _next(self) -> int:
        if len(self._parts) == MOST_PARTS:
            raise TooLarge(
                f"A blob in S3 has at most {MOST_PARTS:,} parts of {PART >> 20} MiB.", cure="Send a smaller file."
            )
        return len(self._parts) + 1
