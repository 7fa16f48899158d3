"""How computations and jobs hang together: whose rows to lock, which steps change along, who still wants a result.

The order of locks, the same everywhere: rows of jobs (by id), then rows of computations (by key). A job's row guards
its steps and events too. Code that starts from a job (`jobs`, `steps`) locks it first; code that starts from a
computation calls `lock` first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy import and_, exists, select, update

from burnish.errors import Unavailable
from storage import events
from storage.database import Transaction
from storage.records import StepState
from storage.tables import computations, jobs, steps

__all__ = ["Wish", "jobs_of", "lock", "settle", "spread", "states_of", "wanted", "wishes"]

_ROUNDS = 10


class Wish(NamedTuple):
    """When one of the jobs wants a computation."""

    created_at: float
    priority: int


def lock(tx: Transaction, keys: Collection[str]) -> None:
    """Locks the rows of all jobs bound to these computations, then the computations.

    A job may bind itself between the two; then both are let go and taken again with that job.

    Raises:
        Unavailable: jobs kept binding themselves to it for too many rounds.
    """
    if tx.single_writer:
        return
    for _ in range(_ROUNDS):
        with tx.savepoint() as undo:
            held = _lock_jobs(tx, keys)
            rows = select(computations.c.key).where(computations.c.key.in_(keys)).order_by(computations.c.key)
            tx.execute(rows.with_for_update(key_share=True)).all()
            if held.issuperset(tx.execute(_bound(keys)).scalars()):
                return
            undo()
    raise Unavailable("Too many jobs are being bound to one computation.", cure="Try again.")


def spread(
    tx: Transaction,
    key: str,
    before: StepState,
    after: StepState,
    kind: events.Kind,
    data: Mapping[str, Any],
    *,
    error: Mapping[str, Any] | None = None,
) -> None:
    """Moves the steps bound to a computation along with it, and tells their jobs. Steps of canceling jobs that would
    be tried again are canceled instead."""
    bound = (
        select(steps.c.job_id, steps.c.name, jobs.c.state)
        .join(jobs, jobs.c.id == steps.c.job_id)
        .where(steps.c.key == key, steps.c.state == before)
        .order_by(steps.c.job_id, steps.c.position)
    )
    for row in tx.execute(bound).all():
        drop = after == "ready" and row.state == "canceling"
        this = and_(steps.c.job_id == row.job_id, steps.c.name == row.name)
        tx.execute(update(steps).where(this).values(state="canceled" if drop else after, error=error))
        events.add(tx, "step.canceled" if drop else kind, {} if drop else data, job_id=row.job_id, step=row.name)


def settle(tx: Transaction, job_ids: Collection[str]) -> None:
    """Ends those jobs of the given that were only waiting for their leased steps to stop: canceling → canceled."""
    leased = exists().where(steps.c.job_id == jobs.c.id, steps.c.state == "leased")
    for job_id in sorted(job_ids):
        end = update(jobs).where(jobs.c.id == job_id, jobs.c.state == "canceling", ~leased)
        if tx.execute(end.values(state="canceled", finished_at=tx.now)).rowcount:
            tx.count("jobs", "canceled")
            events.add(tx, "job.canceled", {}, job_id=job_id)


def wanted(tx: Transaction, key: str) -> bool:
    """Whether a running job still waits for this computation."""
    live = (
        select(steps.c.job_id)
        .join(jobs, jobs.c.id == steps.c.job_id)
        .where(steps.c.key == key, steps.c.state.in_(("ready", "leased")), jobs.c.state == "running")
    )
    return tx.execute(live.limit(1)).first() is not None


def wishes(tx: Transaction, key: str) -> list[Wish]:
    """Age and priority of the running jobs that wait for this computation."""
    waiting = (
        select(jobs.c.created_at, jobs.c.priority)
        .join(steps, jobs.c.id == steps.c.job_id)
        .where(steps.c.key == key, steps.c.state.in_(("ready", "leased")), jobs.c.state == "running")
    )
    return [Wish(row.created_at, row.priority) for row in tx.execute(waiting)]


def jobs_of(tx: Transaction, key: str, *, state: str) -> list[str]:
    """Ids of the jobs in that state with a step bound to this computation."""
    return [job_id for job_id, found in states_of(tx, key).items() if found == state]


def states_of(tx: Transaction, key: str) -> dict[str, str]:
    """States of the jobs with a step bound to this computation, by id, in the order of these."""
    found = select(jobs.c.id, jobs.c.state).where(jobs.c.id.in_(_bound([key]))).order_by(jobs.c.id)
    return {row.id: row.state for row in tx.execute(found)}


def _bound(keys: Collection[str]) -> Any:
    return select(steps.c.job_id).where(steps.c.key.in_(keys))


def _lock_jobs(tx: Transaction, keys: Collection[str]) -> set[str]:
    rows = select(jobs.c.id).where(jobs.c.id.in_(_bound(keys))).order_by(jobs.c.id)
    return set(tx.execute(rows.with_for_update(key_share=True)).scalars())
