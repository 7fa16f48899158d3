"""The history of a job: one row per change, log line or sign of progress.

An event's id is the job's revision just after it. It is taken while the job's row is locked, so ids grow without gaps
in the order of commits: a reader that has seen event n never misses a later one. A transaction writes all its events
together, at its end (`storage/notes.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import Select, select

from storage import outbox
from storage.database import Transaction
from storage.notes import Note
from storage.records import Event, from_row
from storage.tables import events, jobs, steps

__all__ = ["KINDS", "Kind", "add", "last_of_job", "of_job"]

Kind = Literal[
    "job.queued",
    "job.planned",
    "job.priority",
    "job.succeeded",
    "job.failed",
    "job.canceling",
    "job.canceled",
    "step.ready",
    "step.leased",
    "step.progress",
    "step.done",
    "step.failed",
    "step.retry",
    "step.canceled",
    "log",
]
KINDS: tuple[Kind, ...] = Kind.__args__  # type: ignore[attr-defined]
"""Every kind there is."""


def add(
    tx: Transaction,
    kind: Kind,
    data: Mapping[str, Any],
    *,
    job_id: str | None = None,
    step: str | None = None,
    key: str | None = None,
) -> None:
    """Adds an event to a job (`job_id`, and `step` if it concerns one), or to every step that waits for `key`.

    With `key` the caller holds the rows of those jobs (`bindings.lock`), or does nothing else in the transaction.
    """
    if job_id is not None:
        _add(tx, kind, data, job_id, step)
    if key is not None:
        waiting = (
            select(steps.c.job_id, steps.c.name)
            .where(steps.c.key == key, steps.c.state.in_(("ready", "leased")))
            .order_by(steps.c.job_id, steps.c.position)
        )
        for row in tx.execute(waiting).all():
            _add(tx, kind, data, row.job_id, row.name)


def of_job(tx: Transaction, job_id: str, after: int = 0, limit: int = 100, kinds: Sequence[Kind] = ()) -> list[Event]:
    """Events of a job with ids above `after`, oldest first; only of these kinds, if some are named."""
    tx.write_notes()
    page = _of(job_id, kinds).where(events.c.id > after).order_by(events.c.id).limit(limit)
    return [from_row(Event, row) for row in tx.execute(page)]


def last_of_job(tx: Transaction, job_id: str, limit: int, kinds: Sequence[Kind] = ()) -> list[Event]:
    """The newest of them, oldest first."""
    tx.write_notes()
    page = _of(job_id, kinds).order_by(events.c.id.desc()).limit(limit)
    return [from_row(Event, row) for row in tx.execute(page)][::-1]


def _of(job_id: str, kinds: Sequence[Kind]) -> Select[Any]:
    wanted = select(events).where(events.c.job_id == job_id)
    return wanted.where(events.c.kind.in_(kinds)) if kinds else wanted


def _add(tx: Transaction, kind: Kind, data: Mapping[str, Any], job_id: str, step: str | None) -> None:
    tx.note(Note(job_id, kind, step, dict(data)))
    if kind == "job.succeeded" or kind == "job.failed" or kind == "job.canceled":
        outbox.publish(tx, kind, lambda: _told(tx, job_id, data))


def _told(tx: Transaction, job_id: str, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What webhooks are told of the end of a job."""
    row = tx.execute(select(jobs.c.state, jobs.c.model, jobs.c.dataset).where(jobs.c.id == job_id)).one()
    return {"job": job_id, "state": row.state, "model": row.model, "dataset": row.dataset, **data}
