"""Ready computations whose doorbell is to be rung, in the order of their turns."""

from __future__ import annotations

import math
from typing import NamedTuple

from sqlalchemy import bindparam, or_, select, update

from storage.computations import IS_READY
from storage.database import Transaction
from storage.tables import computations
from storage.turns import present_priority

__all__ = ["Due", "back_date", "due"]

_DUE = (
    select(computations.c.key, computations.c.queue, computations.c.turn)
    .where(IS_READY, computations.c.run_after <= bindparam("now"))
    .where(or_(computations.c.dispatched_at.is_(None), computations.c.dispatched_at < bindparam("rung")))
    .order_by(computations.c.turn)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, key_share=True)
)


class Due(NamedTuple):
    """A ready computation whose doorbell is to be rung."""

    key: str
    queue: str
    priority: int
    """The present one: it grows more urgent with waiting."""


def due(tx: Transaction, limit: int, rung_before: float = -math.inf) -> list[Due]:
    """Ready computations whose doorbell was never rung, or last at a time before `rung_before`, in the order of their
    turns; they count as rung from now on, so publish them after the commit."""
    ready = tx.execute(_DUE, {"now": tx.now, "rung": rung_before, "most": limit})
    found = [Due(row.key, row.queue, present_priority(row.turn, tx.now)) for row in ready]
    if found:
        rung = update(computations).where(computations.c.key.in_([each.key for each in found]))
        tx.execute(rung.values(dispatched_at=tx.now))
    return found


def back_date(tx: Transaction, key: str, rung_at: float) -> None:
    """A ready computation's doorbell counts as rung at that time, if it counts as rung later: who heard it could not
    use it, and it is to be rung again sooner."""
    earlier = update(computations).where(computations.c.key == key, IS_READY, computations.c.dispatched_at > rung_at)
    tx.execute(earlier.values(dispatched_at=rung_at))
