"""How S3 is reached, and what its errors mean to us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from burnish.errors import BadSetting, Unavailable
from storage.blob_digest import missing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = {"404", "NoSuchKey", "NotFound"}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


def connect(url: str) -> tuple[S3Client, str, str]:
    """Client, bucket and prefix of `s3://bucket/prefix?endpoint=…&region=…&public=…`. Sends nothing.

    Raises `BadSetting`.
    """
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    strange = sorted(options.keys() - {"endpoint", "region", "public"})
    if not parts.netloc or parts.fragment or strange or any(len(values) > 1 for values in options.values()):
        raise BadSetting(
            f"{url!r} is not an S3 address" + (f": it has no option {strange[0]!r}." if strange else "."),
            cure="Write it as s3://bucket/prefix?endpoint=https://host:port&region=name&public=https://host; every "
            "option may be left out.",
            where="BURNISH_BLOBS_URL",
        )
    return _client(url, options.get("endpoint", [None])[0]), parts.netloc, parts.path.strip("/")


def public_client(url: str) -> S3Client | None:
    """The client that signs links, if they are to name another address of the server than `endpoint`: its `public`.

    Raises `BadSetting`.
    """
    public = parse_qs(urlsplit(url).query).get("public", [None])[0]
    return None if public is None else _client(url, public)


def _client(url: str, endpoint: str | None) -> S3Client:
    region = parse_qs(urlsplit(url).query).get("region", [None])[0]
    try:
        return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=region, config=_config())
    except (BotoCoreError, ValueError) as error:
        raise BadSetting(
            f"{url!r} can't be used: {error}.", cure="Correct its endpoint and region.", where="BURNISH_BLOBS_URL"
        ) from error


def _config() -> Config:
    return Config(
        signature_version="s3v4",  # the default presign is still version 2, where a Content-Type breaks the signature
        s3={"addressing_style": "path"},
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=3,
        read_timeout=30,  # between two bytes of an answer; the longest is that to a copy of `blobs_s3._COPY_PART`
        max_pool_connections=32,
    )


@contextmanager
def s3_errors(doing: str, digest: str | None = None) -> Iterator[None]:
    """Translates boto's errors while `doing`: a missing key of `digest` to `NotFound`, all others to `Unavailable`.

    Refusals (403, no such bucket) are `Unavailable` too: the job is sound, the machine's configuration is not.
    """
    try:
        yield
    except ClientError as error:
        if digest is not None and error_code(error) in _MISSING:
            raise missing(digest) from error
        raise _unavailable(doing, error) from error
    except BotoCoreError as error:
        raise _unavailable(doing, error) from error


def error_code(error: ClientError) -> str:
    """S3's own code of the error, or the HTTP status where a reply had no body."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_taken(error: ClientError) -> bool:
    """Whether a conditional write was refused because another writer has published under the same key."""
    return error_code(error) in _TAKEN


def _unavailable(doing: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"The S3 store failed at {doing}: {error}",
        cure="Check that it runs, that the bucket exists, and BURNISH_BLOBS_URL and the AWS_ variables.",
    )
