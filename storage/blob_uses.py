"""What a blob is to the rest of the database: whether a row refers to it."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Text, cast, exists, literal, or_, select

from storage.database import Transaction
from storage.tables import blobs, computations, datasets, models, products

__all__ = ["is_upload", "refers", "taken_in", "unreferred", "uploaded"]

_IN_FLIGHT = [computations.c.state == literal(state, literal_execute=True) for state in ("ready", "leased")]
"""Each written into the statement: only so can a planner tell that a partial index fits."""


def refers(tx: Transaction, digest: str) -> bool:
    """True if the blob is an upload, or an output of a computation that is done."""
    made = exists().where(products.c.digest == digest)
    return bool(tx.execute(select(or_(made, uploaded(digest)))).scalar_one())


def is_upload(tx: Transaction, digest: str) -> bool:
    """True if the blob is a model or a dataset."""
    return bool(tx.execute(select(uploaded(digest))).scalar_one())


def taken_in(tx: Transaction, digests: list[str]) -> bool:
    """True if a computation that waits or runs has one of these blobs among its inputs. Looks through all of those."""
    text = cast(computations.c.inputs, Text)
    reads = or_(*(text.contains(f'"{digest}"', autoescape=True) for digest in digests))
    found = or_(*(exists().where(in_flight, reads) for in_flight in _IN_FLIGHT))
    return bool(tx.execute(select(found)).scalar_one())


def unreferred() -> ColumnElement[bool]:
    """Condition on a row of `blobs`: neither an upload nor an output of a computation that is done."""
    made = exists().where(products.c.digest == blobs.c.digest)
    return ~or_(made, uploaded(blobs.c.digest))


def uploaded(digest: str | ColumnElement[str]) -> ColumnElement[bool]:
    """Condition: a model or a dataset has these bytes."""
    return or_(exists().where(models.c.digest == digest), exists().where(datasets.c.digest == digest))
