"""Which computation made which blob: the outputs of what is done, as rows that can be looked up either way.

A row exists exactly while its computation is done. Only `storage/computations.py` writes here, in the transaction that
changes the state.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, insert, select

from storage.database import Transaction
from storage.tables import products

__all__ = ["drop", "makers", "note", "of"]

_ADD = insert(products)


def note(tx: Transaction, key: str, digests: Collection[str]) -> None:
    """The computation is done, and these are its outputs."""
    rows = [{"digest": digest, "key": key} for digest in sorted(set(digests))]
    if rows:
        tx.execute_many(_ADD, rows)


def drop(tx: Transaction, key: str) -> None:
    """The computation is done no more."""
    tx.execute(delete(products).where(products.c.key == key))


def makers(tx: Transaction, digest: str) -> list[str]:
    """Keys of the computations that are done and have this blob among their outputs, in order."""
    return list(
        tx.execute(select(products.c.key).where(products.c.digest == digest).order_by(products.c.key)).scalars()
    )


def of(tx: Transaction, key: str) -> list[str]:
    """Digests of the outputs of a computation that is done, in order."""
    return list(
        tx.execute(select(products.c.digest).where(products.c.key == key).order_by(products.c.digest)).scalars()
    )
