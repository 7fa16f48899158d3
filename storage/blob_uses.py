"""What a blob is to the rest of the database: whether a row refers to it."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Text, cast, exists, literal, or_, select

from storage.database import Transaction
from storage.tables import alias_entries, blobs, computations, datasets, models, products

__all__ = ["aliased", "is_kept", "made_or_uploaded", "refers", "taken_in", "unreferred", "uploaded"]

_IN_FLIGHT = [computations.c.state == literal(state, literal_execute=True) for state in ("ready", "leased")]
"""Each written into the statement: only so can a planner tell that a partial index fits."""


def refers(tx: Transaction, digest: str) -> bool:
    """True if the blob is an upload, an output of a computation that is done, or kept for an alias."""
    made = exists().where(products.c.digest == digest)
    return bool(tx.execute(select(or_(made, uploaded(digest), aliased(digest)))).scalar_one())


def made_or_uploaded(tx: Transaction, digest: str) -> bool:
    """The same without aliases: whether bytes that are damaged can't simply be made anew."""
    made = exists().where(products.c.digest == digest)
    return bool(tx.execute(select(or_(made, uploaded(digest)))).scalar_one())


def is_kept(tx: Transaction, digest: str) -> bool:
    """True if the blob is a model or a dataset, or kept for an alias: it stays though no computation made it."""
    return bool(tx.execute(select(or_(uploaded(digest), aliased(digest)))).scalar_one())


def taken_in(tx: Transaction, digests: list[str]) -> bool:
    """True if a computation that waits or runs has one of these blobs among its inputs. Looks through all of those."""
    text = cast(computations.c.inputs, Text)
    reads = or_(*(text.contains(f'"{digest}"', autoescape=True) for digest in digests))
    found = or_(*(exists().where(in_flight, reads) for in_flight in _IN_FLIGHT))
    return bool(tx.execute(select(found)).scalar_one())


def unreferred() -> ColumnElement[bool]:
    """Condition on a row of `blobs`: neither an upload, nor an output of what is done, nor kept for an alias."""
    made = exists().where(products.c.digest == blobs.c.digest)
    return ~or_(made, uploaded(blobs.c.digest), aliased(blobs.c.digest))


def uploaded(digest: str | ColumnElement[str]) -> ColumnElement[bool]:
    """Condition: a model or a dataset has these bytes."""
    return or_(exists().where(models.c.digest == digest), exists().where(datasets.c.digest == digest))


def aliased(digest: str | ColumnElement[str]) -> ColumnElement[bool]:
    """Condition: an alias stands for these bytes, or a rollback may bring them back."""
    return exists().where(alias_entries.c.digest == digest, alias_entries.c.kept)
