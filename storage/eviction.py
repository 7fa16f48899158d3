"""What leaves the cache when the store is full: the results that are cheapest to compute again, per byte.

Never evicted are

1. what a step of a live job (queued, running, canceling) is bound to,
2. what a job of a pinned model was bound to,
3. outputs that a computation which waits or runs takes in.

All three are looked at after the computation's row is locked, in the transaction that makes it no hit any more: a job
that binds to it at that moment either comes first, and then it stays, or finds it gone and computes it again.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists, func, select, update

from storage import computations, products
from storage.blob_uses import aliased, is_kept, taken_in, uploaded
from storage.database import Transaction
from storage.tables import blobs, jobs, models, steps
from storage.tables import computations as table
from storage.tables import products as product_table

__all__ = ["cache_size", "cheapest", "evict"]

_LIVE = ("queued", "running", "canceling")


def cache_size(tx: Transaction) -> int:
    """Bytes of the blobs that are neither uploads, nor kept for an alias, nor about to be removed."""
    kept = select(func.coalesce(func.sum(blobs.c.size), 0)).where(
        blobs.c.doomed_at.is_(None), ~uploaded(blobs.c.digest), ~aliased(blobs.c.digest)
    )
    return int(tx.execute(kept).scalar_one())


def cheapest(tx: Transaction, limit: int) -> list[str]:
    """Keys of what may be evicted, the fewest seconds of computation per byte first. Reads all that is done."""
    size = func.sum(blobs.c.size)
    found = (
        select(table.c.key)
        .join(product_table, product_table.c.key == table.c.key)
        .join(blobs, blobs.c.digest == product_table.c.digest)
        .where(table.c.state == "done", blobs.c.size > 0, ~_needed())
        .group_by(table.c.key, table.c.seconds, table.c.finished_at)
        .order_by(func.coalesce(table.c.seconds, 0.0) / size, table.c.finished_at, table.c.key)
        .limit(limit)
    )
    return list(tx.execute(found).scalars())


def evict(tx: Transaction, key: str) -> int | None:
    """Takes a computation out of the cache and dooms those of its outputs that nothing else refers to.

    Returns:
        Bytes that will come free, or `None` if it has to stay.
    """
    tx.execute(select(table.c.key).where(table.c.key == key).with_for_update(key_share=True))
    digests = products.of(tx, key)
    if not digests or _is_pinned(tx, key) or _is_needed(tx, key) or taken_in(tx, digests):
        return None
    if not computations.evict(tx, key):
        return None
    return sum(_doom(tx, digest) for digest in digests)


def _doom(tx: Transaction, digest: str) -> int:
    if is_kept(tx, digest) or products.makers(tx, digest):
        return 0
    doomed = update(blobs).where(blobs.c.digest == digest).values(doomed_at=tx.now).returning(blobs.c.size)
    return int(tx.execute(doomed).scalar_one_or_none() or 0)


def _needed() -> ColumnElement[bool]:
    """Condition on a row of `computations`: rules 1 and 2."""
    bound = exists().where(steps.c.key == table.c.key, jobs.c.id == steps.c.job_id)
    pinned = models.c.id == jobs.c.model_id, models.c.pinned_at.is_not(None)
    return bound.where(jobs.c.state.in_(_LIVE)) | bound.where(*pinned)


def _is_needed(tx: Transaction, key: str) -> bool:
    return tx.execute(select(table.c.key).where(table.c.key == key, _needed())).first() is not None


def _is_pinned(tx: Transaction, key: str) -> bool:
    """Rule 2 with the models' rows held, so that pinning one either is seen here or waits until this is over."""
    concerned = select(jobs.c.model_id).join(steps, steps.c.job_id == jobs.c.id).where(steps.c.key == key)
    rows = select(models.c.pinned_at).where(models.c.id.in_(concerned)).order_by(models.c.id)
    return any(at is not None for at in tx.execute(rows.with_for_update(read=True)).scalars())
