"""`Idempotency-Key`: the same POST sent twice is done once, and answered twice."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, request

from api.errors import Refused
from storage import idempotency
from storage.database import Transaction

__all__ = ["body_hash", "remember", "replayed"]

_KEPT = ("Location", "Retry-After", "ETag")


def body_hash(*parts: str | bytes) -> str:
    """What tells one request from another under the same key: the query string and what is given."""
    digest = hashlib.sha256(request.query_string)
    for part in parts:
        digest.update(b"\0" + (part.encode() if isinstance(part, str) else part))
    return digest.hexdigest()


def replayed(tx: Transaction, hashed: str) -> Response | None:
    """The first answer, if this request was answered before; then it must do nothing again.

    A request that is being handled at the same moment holds the key until its transaction ends.

    Raises:
        burnish.errors.Conflict: the key was used for another request.
    """
    key = _key()
    stored = idempotency.claim(tx, _scope(), key, hashed) if key else None
    return _answer(stored) if stored else None


def remember(tx: Transaction, response: Response) -> Response:
    """Keeps the answer for the next request with the same key, in the transaction that did the work."""
    key = _key()
    if key:
        headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        stored = {"status": response.status_code, "headers": headers, "body": response.get_data(as_text=True)}
        idempotency.remember(tx, _scope(), key, stored)
    return response


def _answer(stored: dict[str, Any]) -> Response:
    response = Response(stored["body"], stored["status"], headers=stored["headers"], mimetype="application/json")
    response.headers["Idempotent-Replayed"] = "true"
    return response


def _scope() -> str:
    """Keys of one address, and of one token, don't meet those of another."""
    who = hashlib.sha256(request.headers.get("Authorization", "").encode()).hexdigest()[:16]
    return f"{who} {request.path}"


def _key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (1 <= len(key) <= 200 and key.isprintable()):
        raise Refused(400, "Idempotency-Key can't be used.", cure="Send 1 to 200 printable characters, best a UUID.")
    return key
