"""Checkpoints: where a long computation got to, so that another attempt goes on from there.

At most one a computation, of a blob that is kept from the collector by a hold. Only the attempt that holds the lease
can write one. It is dropped when the computation is done; one that nobody comes back for lapses with its hold.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from storage import blob_index
from storage.blob_index import Hold
from storage.blobs import Blob
from storage.database import Transaction
from storage.tables import checkpoints, computations, holds

__all__ = ["KEPT", "drop", "hold", "keep", "lapse", "of"]

KEPT = 7 * 86400.0
"""Seconds for which a checkpoint is kept at most."""


def hold(tx: Transaction, blob: Blob) -> Hold:
    """Keeps the collector from a checkpoint that is about to be put."""
    return blob_index.hold(tx, blob, KEPT)


def keep(tx: Transaction, key: str, attempt: int, held: Hold) -> bool:
    """Takes the checkpoint, in place of the one before. False, and nothing changes, if the lease is somebody else's."""
    mine = (computations.c.key == key, computations.c.state == "leased", computations.c.attempt == attempt)
    if tx.execute(select(computations.c.key).where(*mine).with_for_update()).first() is None:
        return False
    _forget(tx, key)
    row = {"key": key, "digest": held.blob.digest, "hold_id": held.id, "made_at": tx.now}
    tx.execute(checkpoints.insert().values(**row))
    return True


def of(tx: Transaction, key: str) -> str | None:
    """Digest of the computation's checkpoint, if it has one."""
    return tx.execute(select(checkpoints.c.digest).where(checkpoints.c.key == key)).scalar_one_or_none()


def drop(tx: Transaction, key: str) -> None:
    """Forgets the computation's checkpoint, if it has one."""
    _forget(tx, key)


def lapse(tx: Transaction) -> None:
    """Forgets the checkpoints whose time is over."""
    for key in tx.execute(select(checkpoints.c.key).where(checkpoints.c.made_at < tx.now - KEPT)).scalars().all():
        _forget(tx, key)


def _forget(tx: Transaction, key: str) -> None:
    old = tx.execute(delete(checkpoints).where(checkpoints.c.key == key).returning(checkpoints.c.hold_id)).scalar()
    if old is not None:
        tx.execute(delete(holds).where(holds.c.id == old))
