"""Work that is done every so often, by whichever process finds it due first."""

from __future__ import annotations

from sqlalchemy import update

from storage.database import Transaction
from storage.tables import chores

__all__ = ["take"]


def take(tx: Transaction, name: str, every: float) -> bool:
    """Whether the caller is to do the chore now. Nobody else is told so within the next `every` seconds.

    Whoever takes it and dies leaves it to the next one after that time.
    """
    if tx.insert_new(chores, {"name": name, "next_at": tx.now + every}):
        return True
    due = update(chores).where(chores.c.name == name, chores.c.next_at <= tx.now)
    return tx.execute(due.values(next_at=tx.now + every)).rowcount == 1
