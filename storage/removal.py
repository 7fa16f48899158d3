"""Taking a blob out of the store: the only code that deletes bytes which a row has named.

The row of the blob stays locked while its bytes are deleted, and goes in the same transaction. If the process dies in
between, the row is still there, doomed or old, and nothing refers to it: the next run finishes it. A server that ends
the transaction for standing still (15 s on PostgreSQL) while a delete is under way could let a writer in; should its
bytes be hit, readers find out by the hash and have them made again (`storage/recovery.py`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Row, delete, exists, select

from storage.blob_uses import made_or_uploaded, taken_in, unreferred
from storage.blobs import BlobStore
from storage.database import Transaction
from storage.tables import blobs, holds

__all__ = ["discard", "removable", "remove"]


def removable(tx: Transaction, *, before: float, limit: int) -> list[str]:
    """Digests that `remove` would take: what is doomed, then what nothing has referred to since `before`."""
    free = (unreferred(), ~_held(tx))
    doomed = select(blobs.c.digest).where(blobs.c.doomed_at.is_not(None), *free).order_by(blobs.c.doomed_at)
    found = list(tx.execute(doomed.limit(limit)).scalars())
    old = select(blobs.c.digest).where(blobs.c.seen_at < before, blobs.c.doomed_at.is_(None), *free)
    if len(found) < limit:
        found += tx.execute(old.order_by(blobs.c.seen_at).limit(limit - len(found))).scalars()
    return found


def remove(tx: Transaction, store: BlobStore, digest: str, *, before: float) -> int | None:
    """Removes a blob if nothing refers to it, nobody holds it, and it is doomed or was last of use before `before`.

    Returns:
        Its size, or `None` if it was left alone.

    Raises:
        Unavailable: the store did not delete it; take the transaction back.
    """
    row = _locked(tx, digest)
    if row is None or (row.doomed_at is None and row.seen_at >= before):
        return None
    # After the lock: what others committed while it was waited for counts.
    free = select(blobs.c.digest).where(blobs.c.digest == digest, unreferred(), ~_held(tx))
    if tx.execute(free).first() is None or taken_in(tx, [digest]):
        return None
    _delete(tx, store, digest)
    return int(row.size)


def discard(tx: Transaction, store: BlobStore, digest: str) -> bool:
    """Removes a blob whose bytes are damaged, so that a put writes them anew; whether it did.

    An upload stays: only its owner can send it again. So does what is still an output (call `computations.disown`
    first). Who holds it sees by `confirm` that it is gone. Raises `Unavailable` like `remove`.
    """
    _locked(tx, digest)
    if made_or_uploaded(tx, digest):
        return False
    _delete(tx, store, digest)
    return True


def _locked(tx: Transaction, digest: str) -> Row[Any] | None:
    return tx.execute(select(blobs).where(blobs.c.digest == digest).with_for_update()).first()


def _delete(tx: Transaction, store: BlobStore, digest: str) -> None:
    store.delete(digest)
    tx.execute(delete(holds).where(holds.c.digest == digest))
    tx.execute(delete(blobs).where(blobs.c.digest == digest))


def _held(tx: Transaction) -> ColumnElement[bool]:
    """Condition on a row of `blobs`."""
    return exists().where(holds.c.digest == blobs.c.digest, holds.c.until > tx.now)
