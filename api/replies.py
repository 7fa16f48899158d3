"""Documents as HTTP answers: JSON with an ETag, 304 when the client has it already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from flask import Response, request
from pydantic import BaseModel

__all__ = ["moment", "reply", "unchanged"]


def moment(seconds: float) -> datetime:
    """Epoch seconds, as SQL has them, as a UTC time."""
    return datetime.fromtimestamp(seconds, UTC)


def reply(
    document: BaseModel, status: int = 200, *, etag: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A document as the answer.

    Args:
        etag: what changes with the document; by default a hash of its text.
        headers: `Location`, `Retry-After`, …; they stay on a 304.
    """
    body = document.model_dump_json()
    response = Response(body, status, headers=dict(headers or {}), mimetype="application/json")
    _tag(response, etag or hashlib.sha256(body.encode()).hexdigest()[:32])
    if status == 200:
        response.make_conditional(request)
    return response


def unchanged(etag: str, headers: Mapping[str, str] | None = None) -> Response | None:
    """The 304 if the client has this version, before any work on the document; else `None`."""
    if not request.if_none_match.contains_weak(etag):
        return None
    response = Response(status=304, headers=dict(headers or {}))
    _tag(response, etag)
    return response


def _tag(response: Response, etag: str) -> None:
    response.set_etag(etag, weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
