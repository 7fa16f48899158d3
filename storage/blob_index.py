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

from sqlalchemy import bindparam, delete, insert, select, update

from storage.blob_digest import Blob
from storage.database import Transaction
from storage.ids import new_id
from storage.tables import blobs, holds

__all__ = ["HOLD", "Hold", "confirm", "hold"]

HOLD = 3600.0
"""Seconds between putting a blob and referring to it, at most."""


_THESE = blobs.c.digest.in_(bindparam("digests", expanding=True))
_LOCK = select(blobs.c.digest).where(_THESE).order_by(blobs.c.digest).with_for_update(key_share=True)
_KEEP = update(blobs).where(_THESE).values(doomed_at=None)
_END = delete(holds).where(holds.c.id.in_(bindparam("ids", expanding=True)))
_ADD = insert(holds)


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
    tx.execute(_ADD, {"id": taken.id, "digest": blob.digest, "until": tx.now + seconds})
    return taken


def confirm(tx: Transaction, *held: Hold) -> bool:
    """Ends holds in the transaction that refers to the blobs: whether these are still the ones that were put.

    Locks the blobs' rows until the end of the transaction. If false, take the transaction back.
    """
    if not held:
        return True
    digests = sorted({each.blob.digest for each in held})
    if len(digests) > 1:  # an UPDATE locks in any order
        tx.execute(_LOCK, {"digests": digests}).all()
    if tx.execute(_KEEP, {"digests": digests, "seen_at": tx.now}).rowcount != len(digests):
        return False
    ids = {each.id for each in held}
    return tx.execute(_END, {"ids": sorted(ids)}).rowcount == len(ids)
