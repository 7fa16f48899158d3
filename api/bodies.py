"""Reading request bodies: JSON in full, uploads as chunks with the end and the digest checked."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from flask import Request

from api.errors import Refused
from burnish.errors import TooLarge

__all__ = ["chunks_of", "digest_of", "json_of"]

CHUNK = 256 * 1024
JSON_LIMIT = 1024 * 1024


def json_of(request: Request) -> tuple[dict[str, Any], bytes]:
    """The body as a JSON object, and its bytes.

    Raises:
        Refused: it says it is something else (415), is not JSON, not an object, or longer than 1 MiB (400).
    """
    if request.mimetype != "application/json" and not request.mimetype.endswith("+json"):
        raise Refused(
            415,
            f"A job is sent as application/json, not as {request.mimetype or 'nothing'}.",
            cure="Set `Content-Type: application/json`.",
        )
    raw = request.stream.read(JSON_LIMIT + 1)
    if len(raw) > JSON_LIMIT:
        raise Refused(400, "The JSON is longer than 1 MiB.", cure="Send less.")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The body is not JSON: {error}.", cure="Correct the JSON.") from error
    if not isinstance(document, dict):
        raise Refused(400, "The body is JSON, but not an object.", cure="Send an object: {…}.")
    return document, raw


def chunks_of(request: Request, limit: int) -> Iterator[bytes]:
    """The raw body of an upload, piece by piece. Whether it is over `limit` bytes is checked where it is announced;
    where it is not, the blob store counts.

    Raises:
        Refused: a form, or compressed (415); it has no known end, or ended before it (400).
        TooLarge: it is announced with more than `limit` bytes.
    """
    if request.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise Refused(
            415,
            "Uploads are not taken as forms.",
            cure="Send the file's bytes as the body, with `Content-Type: application/octet-stream` "
            "(curl: `--data-binary @FILE`, or `-T FILE -X POST`).",
        )
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(415, "Compressed uploads are not taken.", cure="Send the bytes as they are.")
    if request.content_length is None and "chunked" not in request.headers.get("Transfer-Encoding", ""):
        raise Refused(400, "There is no body.", cure="Send the file's bytes as the body.")
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(
            f"The upload has {request.content_length} bytes, and the limit is {limit}.",
            cure="Send less, or raise BURNISH_MAX_UPLOAD.",
        )
    return _read(request)


def _read(request: Request) -> Iterator[bytes]:
    """Counts, since a server that was cut off mid-body hands over a short one as if it were whole."""
    read = 0
    try:
        while chunk := request.stream.read(CHUNK):
            read += len(chunk)
            yield chunk
    except (OSError, ValueError) as error:
        raise Refused(400, f"The upload broke off after {read} bytes: {error}.", cure="Send it again.") from error
    if request.content_length is not None and read != request.content_length:
        raise Refused(
            400, f"The upload ended after {read} of {request.content_length} bytes.", cure="Send it again, whole."
        )


def digest_of(request: Request) -> str | None:
    """SHA-256 that the client announced for the body (RFC 9530 `Content-Digest: sha-256=:…:`), in hex.

    Raises:
        Refused: the header is there and can't be read (400).
    """
    for part in request.headers.get("Content-Digest", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() != "sha-256":
            continue
        try:
            if not (value.startswith(":") and value.endswith(":") and len(value) > 2):
                raise ValueError("no colons around it")
            digest = base64.b64decode(value[1:-1], validate=True)
            if len(digest) != 32:
                raise ValueError(f"{len(digest)} bytes instead of 32")
        except (ValueError, binascii.Error) as error:
            raise Refused(
                400, f"Content-Digest can't be read: {error}.", cure="Write it as sha-256=:BASE64:, or leave it out."
            ) from error
        return digest.hex()
    return None
