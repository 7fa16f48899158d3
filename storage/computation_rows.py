"""Computations' rows: locking them, and the one UPDATE that every transition is (`storage/computations.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select, update

from storage import bindings
from storage.database import Transaction
from storage.records import Computation, from_row
from storage.tables import computations

__all__ = ["held", "locked", "move"]

_THIS = computations.c.key == bindparam("at")
# Made once; what an UPDATE sets are the columns among its values.
_LOCK = select(computations).where(_THIS).with_for_update(key_share=True)
_MOVE = update(computations).where(
    _THIS,
    computations.c.state == bindparam("seen"),
    computations.c.attempt == bindparam("seen_attempt"),
    computations.c.lease_until.is_not_distinct_from(bindparam("seen_lease", type_=computations.c.lease_until.type)),
)


def locked(tx: Transaction, key: str) -> Computation:
    """The computation of a key that there is; its row stays locked."""
    return from_row(Computation, tx.execute(_LOCK, {"at": key}).one())


def held(tx: Transaction, key: str, attempt: int) -> tuple[Computation | None, Mapping[str, str]]:
    """The computation, locked together with its jobs, if this attempt still has its lease; and the states of these."""
    rows = bindings.lock(tx, [key])
    found = rows.computations.get(key)
    mine = found is not None and found.state == "leased" and found.attempt == attempt
    return found if mine else None, rows.jobs


def move(tx: Transaction, found: Computation, **values: Any) -> bool:
    """The one UPDATE that every transition is: only from the state, attempt and lease that were seen."""
    seen = {"at": found.key, "seen": found.state, "seen_attempt": found.attempt, "seen_lease": found.lease_until}
    if tx.execute(_MOVE, {**seen, **values}).rowcount != 1:
        return False
    _count_ended(tx, found.state, found.queue, by=-1)
    _count_ended(tx, values.get("state", found.state), found.queue)
    return True


def _count_ended(tx: Transaction, state: str, queue: str, by: int = 1) -> None:
    if state in ("done", "failed", "canceled"):
        tx.count("computations", state, queue, by=by)
