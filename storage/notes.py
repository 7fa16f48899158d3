"""Events that a transaction has yet to write: all of them in two statements at its end, whatever their number.

A note becomes an event of its job (`storage/events.py`) just before the commit, or as soon as the transaction reads the
job's revision or its events. The rows of their jobs are held by then; the order in which they are written is that in
which all processes lock jobs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, update

from storage.tables import events, jobs

if TYPE_CHECKING:
    from storage.database import Transaction

__all__ = ["Note", "write"]


class Note(NamedTuple):
    """An event without its number."""

    job_id: str
    kind: str
    step: str | None
    data: dict[str, Any]


_GROW = (
    update(jobs)
    .where(jobs.c.id == bindparam("job_id"))
    .values(revision=jobs.c.revision + bindparam("more"))
    .returning(jobs.c.revision)
)
_ADD = events.insert()


def write(tx: Transaction, notes: Sequence[Note]) -> None:
    """Writes them, numbered in the order they were made in."""
    numbers: dict[str, int] = {}
    for job_id, more in sorted(Counter(note.job_id for note in notes).items()):
        numbers[job_id] = tx.execute(_GROW, {"job_id": job_id, "more": more}).scalar_one() - more
    rows = []
    for note in notes:
        numbers[note.job_id] += 1
        rows.append({**note._asdict(), "id": numbers[note.job_id], "at": tx.now})
    if rows:
        tx.execute_many(_ADD, rows)
