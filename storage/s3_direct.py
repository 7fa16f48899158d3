"""Files that clients send straight to S3, by signed links: one multipart upload each, published under its digest last.

1. The upload is to `<prefix>/incoming/<id>`. What has arrived is asked of S3 each time, so that no row has to agree
   with it; an upload that was swept is begun anew, with nothing arrived.
2. A link is for one part of one length: the length is signed, and S3 refuses any other.
3. Put together the bytes can't change any more: links are for parts of the upload, and that has ended. All of it is
   then read and hashed, and only after that copied, inside S3, to the name that is its digest; both name the ETag.
4. What is given up is aborted at once; what is forgotten, by `S3Blobs.sweep`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from burnish.errors import BlobCorrupt, NotFound, Unavailable
from storage.blob_digest import Blob, Intake
from storage.blobs import Before, DirectFile
from storage.read_ahead import read_ahead
from storage.s3_client import error_code, is_taken, s3_errors
from storage.s3_upload import LANES, PART, UploadGone, abort, parts_of, uploads_to

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["Publish", "S3DirectFile"]

Publish = Callable[[Blob, str], Blob]
"""Copies the bytes of the ETag given, which are at the file's key, to where the blob belongs."""


class S3DirectFile(DirectFile):
    """One such file. `public` signs the links, `client` does all else."""

    def __init__(self, client: S3Client, public: S3Client, bucket: str, key: str, publish: Publish) -> None:
        self._client = client
        self._public = public
        self._bucket = bucket
        self._key = key
        self._publish = publish

    def missing(self, sizes: Mapping[int, int]) -> list[int]:
        if self._joined() is not None:
            return []
        upload_id = self._upload()
        arrived = {} if upload_id is None else self._parts(upload_id)
        return [number for number, size in sizes.items() if number not in arrived or arrived[number][1] != size]

    def links(self, sizes: Mapping[int, int], seconds: int) -> dict[int, str]:
        upload_id = self._upload() or self._begun()
        with s3_errors("signing a link"):
            return {
                number: self._public.generate_presigned_url(
                    "upload_part",
                    Params={
                        "Bucket": self._bucket,
                        "Key": self._key,
                        "UploadId": upload_id,
                        "PartNumber": number,
                        "ContentLength": size,
                    },
                    ExpiresIn=seconds,
                )
                for number, size in sizes.items()
            }

    def publish(self, size: int, *, expect: str | None = None, before: Before | None = None) -> Blob:
        if self._joined() is None:
            self._join()
        joined = self._joined()
        if joined is None:
            raise _elsewhere()
        etag, found = joined
        intake = Intake(expect)
        try:
            if found != size:
                raise BlobCorrupt(f"{found:,} bytes arrived in place of {size:,}.", cure="Send the file again.")
            for _ in intake.through(self._read(size, etag)):
                pass
            blob = intake.blob()
        except BlobCorrupt:
            self._delete()
            raise
        except NotFound as error:
            raise _elsewhere() from error
        if before is not None:
            before(blob)
        self._publish(blob, etag)
        self._delete()
        return blob

    def drop(self) -> None:
        for upload in uploads_to(self._client, self._bucket, self._key):
            abort(self._client, self._bucket, self._key, upload["UploadId"])
        self._delete()

    def _upload(self) -> str | None:
        """Id of the newest upload to the key."""
        found = uploads_to(self._client, self._bucket, self._key)
        return found[-1]["UploadId"] if found else None

    def _begun(self) -> str:
        with s3_errors("starting an upload"):
            return self._client.create_multipart_upload(Bucket=self._bucket, Key=self._key)["UploadId"]

    def _parts(self, upload_id: str) -> Mapping[int, tuple[str, int]]:
        try:
            return parts_of(self._client, self._bucket, self._key, upload_id)
        except UploadGone:  # ended by another request: who asks looks for the whole, or begins anew
            return {}

    def _join(self) -> None:
        """Puts the parts together, unless another request was faster."""
        upload_id = self._upload()
        if upload_id is None:
            return
        parts = sorted(self._parts(upload_id).items())
        with s3_errors("completing an upload"):
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._bucket,
                    Key=self._key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": [{"PartNumber": number, "ETag": etag} for number, (etag, _) in parts]},
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if not is_taken(error) and error_code(error) != "NoSuchUpload":
                    raise

    def _joined(self) -> tuple[str, int] | None:
        """ETag and size of the parts put together."""
        try:
            with s3_errors("asking for an upload", self._key):
                found = self._client.head_object(Bucket=self._bucket, Key=self._key)
        except NotFound:
            return None
        return found["ETag"], found["ContentLength"]

    def _read(self, size: int, etag: str) -> Iterator[bytes]:
        """All bytes, a few ranges at once. Raises `NotFound` if they are no longer there."""

        def piece(start: int) -> bytes:
            with s3_errors("reading an upload", self._key):
                reply = self._client.get_object(
                    Bucket=self._bucket,
                    Key=self._key,
                    IfMatch=etag,
                    Range=f"bytes={start}-{min(start + PART, size) - 1}",
                )
                with closing(reply["Body"]) as body:
                    return body.read()

        return read_ahead((partial(piece, start) for start in range(0, size, PART)), LANES)

    def _delete(self) -> None:
        with s3_errors("deleting"):
            self._client.delete_object(Bucket=self._bucket, Key=self._key)


def _elsewhere() -> Unavailable:
    return Unavailable(
        "The parts were put together or given up by another request at the same moment.", cure="Complete it again."
    )
