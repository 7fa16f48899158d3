"""The history of schedules: every time one was due, whether it fired, and what became of a champion by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, select, update

from storage.counters import observe
from storage.database import Transaction
from storage.ids import new_id
from storage.records import from_row
from storage.tables import firings, jobs, schedules

__all__ = ["Firing", "add", "decide", "end_waiting", "freed", "get", "last", "of_job", "of_schedule", "start", "waits"]

_LIVE = ("queued", "running", "canceling")


@dataclass(frozen=True, kw_only=True)
class Firing:
    """One entry."""

    id: str
    schedule_id: str
    at: float
    due_at: float | None
    cause: str
    """`cron`, `every`, `manual`, the occasion, or `unknown`."""
    outcome: str
    """`fired`, `waiting` for the job before, or `skipped`."""
    reason: str
    job_id: str | None
    """Set exactly when fired."""
    contest: dict[str, Any] | None
    """What the job's result is held against: `kind`, `model`, `alias`, and the `champion` of that moment, if any."""
    decision: dict[str, Any] | None
    """What came of it, once the job has ended."""


def add(
    tx: Transaction,
    schedule_id: str,
    *,
    cause: str,
    outcome: str,
    reason: str,
    due_at: float | None,
    job_id: str | None = None,
    contest: Mapping[str, Any] | None = None,
) -> Firing:
    """Adds an entry. The caller holds the schedule's row."""
    firing_id = new_id("frg")
    told = {"cause": cause, "outcome": outcome, "reason": reason, "due_at": due_at}
    made = {"job_id": job_id, "contest": dict(contest) if contest else None}
    tx.execute(firings.insert().values(id=firing_id, schedule_id=schedule_id, at=tx.now, **told, **made))
    firing = get(tx, firing_id)
    _count(tx, firing)
    return firing


def get(tx: Transaction, firing_id: str) -> Firing:
    """The entry with that id, which exists."""
    return from_row(Firing, tx.execute(select(firings).where(firings.c.id == firing_id)).one())


def of_schedule(tx: Transaction, schedule_id: str, *, after: str | None, limit: int) -> list[Firing]:
    """Entries of a schedule, newest first, older than the entry `after`."""
    page = select(firings).where(firings.c.schedule_id == schedule_id).order_by(firings.c.id.desc()).limit(limit)
    if after is not None:
        page = page.where(firings.c.id < after)
    return [from_row(Firing, row) for row in tx.execute(page)]


def last(tx: Transaction, schedule_id: str) -> Firing | None:
    """The newest entry."""
    return next(iter(of_schedule(tx, schedule_id, after=None, limit=1)), None)


def of_job(tx: Transaction, job_id: str) -> Firing | None:
    """The entry that made a job; `None` if no schedule did, or it is deleted."""
    row = tx.execute(select(firings).where(firings.c.job_id == job_id)).first()
    return None if row is None else from_row(Firing, row)


def waits(tx: Transaction, schedule_id: str) -> bool:
    """Whether a firing of the schedule waits for the job before."""
    waiting = select(firings.c.id).where(firings.c.schedule_id == schedule_id, firings.c.outcome == "waiting")
    return tx.execute(waiting).first() is not None


def freed(tx: Transaction, limit: int = 100) -> list[Firing]:
    """Firings that waited for a job that has ended."""
    busy = exists().where(
        schedules.c.id == firings.c.schedule_id, jobs.c.id == schedules.c.last_job_id, jobs.c.state.in_(_LIVE)
    )
    found = select(firings).where(firings.c.outcome == "waiting", ~busy).order_by(firings.c.id).limit(limit)
    return [from_row(Firing, row) for row in tx.execute(found)]


def start(tx: Transaction, firing: Firing, **values: Any) -> Firing:
    """Ends the waiting of an entry, one way or the other. The caller holds the schedule's row."""
    waiting = update(firings).where(firings.c.id == firing.id, firings.c.outcome == "waiting")
    moved = tx.execute(waiting.values(**values)).rowcount
    ended = get(tx, firing.id)
    if moved:
        _count(tx, ended)
    return ended


def end_waiting(tx: Transaction, schedule_id: str, reason: str) -> None:
    """Lets a firing that waits be skipped, if there is one. The caller holds the schedule's row."""
    waiting = update(firings).where(firings.c.schedule_id == schedule_id, firings.c.outcome == "waiting")
    for _ in range(tx.execute(waiting.values(outcome="skipped", reason=reason)).rowcount):
        tx.count("firings", "skipped")


def decide(tx: Transaction, firing: Firing, decision: Mapping[str, Any]) -> None:
    """Keeps what became of the champion."""
    tx.execute(update(firings).where(firings.c.id == firing.id).values(decision=dict(decision)))


def _count(tx: Transaction, firing: Firing) -> None:
    """Counts an entry that waits no more, and how late its job was made."""
    if firing.outcome == "waiting":
        return
    tx.count("firings", firing.outcome)
    if firing.outcome == "fired" and firing.due_at is not None:
        observe(tx, "firing_lateness", firing.cause, max(0.0, tx.now - firing.due_at))
