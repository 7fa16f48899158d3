"""Which blobs there are and when each was last of use: what a later clean-up decides by."""

from __future__ import annotations

from storage.database import Transaction
from storage.tables import blobs

__all__ = ["seen"]


def seen(tx: Transaction, digest: str, size: int) -> None:
    """Notes that a blob was written, or was of use again."""
    row = {"digest": digest, "size": size, "created_at": tx.now, "seen_at": tx.now}
    tx.upsert(blobs, row, keep=frozenset({"created_at"}))
