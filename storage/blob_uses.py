"""What a blob is to the rest of the database: whether a row refers to it, and forgetting one that was removed."""

from __future__ import annotations

from sqlalchemy import Text, cast, delete, exists, or_, select

from storage.database import Transaction
from storage.tables import blobs, computations, datasets, models

__all__ = ["forget", "refers"]


def refers(tx: Transaction, digest: str) -> bool:
    """True if the blob is an upload, or an output of a computation.

    Looks through the texts of all outputs, which takes a few milliseconds for some ten thousand computations.
    """
    found = or_(
        exists().where(models.c.digest == digest),
        exists().where(datasets.c.digest == digest),
        exists().where(cast(computations.c.outputs, Text).contains(f'"{digest}"', autoescape=True)),
    )
    return bool(tx.execute(select(found)).scalar_one())


def forget(tx: Transaction, digest: str) -> None:
    """Takes a blob that was removed from the store out of the index."""
    tx.execute(delete(blobs).where(blobs.c.digest == digest))
