"""Which blobs there are, and who is about to refer to one: how writers and the collector keep out of each other's way.

A row in a table can't be changed in one transaction with bytes in a store, so they go by this order:

1. A writer takes a hold on the blob before it relies on bytes that it put, or found there: the blob's row exists from
   then on, and isn't doomed any more. It puts; and in the one transaction in which it refers to the blob it calls
   `confirm`, which ends the hold.
2. The collector removes bytes while it has the blob's row locked, and the row with them, only if nothing refers to the
   blob and nobody holds it (`storage/removal.py`). So a hold comes either before that, and then nothing is removed; or
   after it, and then the put finds the bytes gone and writes them.
3. A hold lapses after `HOLD` seconds, and is deleted when the blob is removed. `confirm` then says that the bytes can't
   be relied on, and the writer must start over.

Order of locks: jobs, computations, then blobs (by digest).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, update

from storage.blob_digest import Blob
from storage.database import Transaction
from storage.ids import new_id
from storage.tables import blobs, holds

__all__ = ["HOLD", "Hold", "confirm", "hold"]

HOLD = 3600.0
"""Seconds between putting a blob and referring to it, at most."""


@dataclass(frozen=True)
class Hold:
    """A blob that a writer is about to refer to."""

    blob: Blob
    id: str


def hold(tx: Transaction, blob: Blob, seconds: float = HOLD) -> Hold:
    """Keeps the collector from a blob for so long, whether it is in the store already or will be in a moment."""
    row = {"digest": blob.digest, "size": blob.size, "created_at": tx.now, "seen_at": tx.now, "doomed_at": None}
    tx.upsert(blobs, row, keep=frozenset({"created_at"}))
    taken = Hold(blob, new_id("hld"))
    tx.execute(insert(holds).values(id=taken.id, digest=blob.digest, until=tx.now + seconds))
    return taken


def confirm(tx: Transaction, held: Hold) -> bool:
    """Ends a hold in the transaction that refers to the blob: whether the blob is still the one that was put.

    Locks the blob's row until the end of the transaction. If false, take the transaction back.
    """
    kept = update(blobs).where(blobs.c.digest == held.blob.digest).values(seen_at=tx.now, doomed_at=None)
    if tx.execute(kept).rowcount != 1:
        return False
    return tx.execute(delete(holds).where(holds.c.id == held.id)).rowcount == 1
