"""Idempotency keys: a POST that is sent again gets the answer of the first time.

Use: `claim`, do the work, `remember`, all in one transaction. Then a request with the same key that comes meanwhile
waits for the first one's commit and sees its answer, and a failed request leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, update

from burnish.errors import Conflict
from storage.database import Transaction
from storage.tables import idempotency

__all__ = ["claim", "expire", "remember"]

_KEPT_SECONDS = 24 * 3600.0


def claim(tx: Transaction, scope: str, key: str, body_hash: str) -> dict[str, Any] | None:
    """The stored response to this key in this scope (whose token, which route), or `None`: the work is yours.

    Raises:
        Conflict: the key was used with another body, or the first request with it is still at work.
    """
    expire(tx)
    row = {"scope": scope, "key": key, "body_hash": body_hash, "created_at": tx.now}
    if tx.insert_new(idempotency, row):
        return None
    known = select(idempotency).where(*_this(scope, key))
    found = tx.execute(known).one()
    if found.body_hash != body_hash:
        raise Conflict(
            f"Idempotency key {key!r} was used before, with another body.",
            cure="Use a fresh key for a new request.",
            where="Idempotency-Key",
        )
    if found.response is None:
        raise Conflict(
            f"The first request with idempotency key {key!r} is still at work.",
            cure="Wait a moment, then send it again with the same key.",
            where="Idempotency-Key",
        )
    response: dict[str, Any] = found.response
    return response


def remember(tx: Transaction, scope: str, key: str, response: Mapping[str, Any]) -> None:
    """Stores the response to a claimed key, for 24 hours from the claim."""
    tx.execute(update(idempotency).where(*_this(scope, key)).values(response=dict(response)))


def expire(tx: Transaction) -> None:
    """Forgets keys older than 24 hours."""
    tx.execute(delete(idempotency).where(idempotency.c.created_at < tx.now - _KEPT_SECONDS))


def _this(scope: str, key: str) -> tuple[Any, Any]:
    return idempotency.c.scope == scope, idempotency.c.key == key
