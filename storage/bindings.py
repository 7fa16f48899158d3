"""How computations and jobs hang together: whose rows to lock, which steps change along, who still wants a result.

The order of locks, the same everywhere: rows of jobs (by id), then rows of computations (by key). A job's row guards
its steps and events too. Code that starts from a job (`jobs`, `steps`) locks it first; code that starts from a
computation calls `lock` first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Executable, bindparam, exists, select, update

from burnish.errors import Unavailable
from storage import events
from storage.database import Transaction
from storage.records import Computation, JobState, StepState, from_row
from storage.tables import computations, jobs, steps

__all__ = ["Held", "Wish", "jobs_of", "lock", "settle", "spread", "states_of", "wanted", "wishes"]

_ROUNDS = 10
_BOUND = select(steps.c.job_id).where(steps.c.key.in_(bindparam("keys", expanding=True)))
_STATES = select(jobs.c.id, jobs.c.state).where(jobs.c.id.in_(_BOUND)).order_by(jobs.c.id)
_LOCK_JOBS = _STATES.with_for_update(key_share=True)
_LOCK_COMPUTATIONS = (
    select(computations)
    .where(computations.c.key.in_(bindparam("keys", expanding=True)))
    .order_by(computations.c.key)
    .with_for_update(key_share=True)
)
_MOVE = (
    update(steps)
    .where(steps.c.key == bindparam("at"), steps.c.state == bindparam("before"))
    .values(state=bindparam("after"), error=bindparam("fault", type_=steps.c.error.type))
    .returning(steps.c.job_id, steps.c.name, steps.c.position)
)
_DROP = (
    update(steps)
    .where(steps.c.key == bindparam("at"), steps.c.state == bindparam("before"))
    .where(steps.c.job_id.in_(select(jobs.c.id).where(jobs.c.state == "canceling")))
    .values(state=bindparam("after"), error=None)
    .returning(steps.c.job_id, steps.c.name, steps.c.position)
)
"""The steps of jobs that are being canceled."""


class Wish(NamedTuple):
    """When one of the jobs wants a computation."""

    created_at: float
    priority: int
    position: int
    """Of its step in its plan."""


class Held(NamedTuple):
    """What `lock` has locked, as it stands since."""

    jobs: dict[str, JobState]
    """States of the jobs, by id, in the order of these."""
    computations: dict[str, Computation]
    """By key; only those that there are."""


def lock(tx: Transaction, keys: Collection[str]) -> Held:
    """Locks the rows of all jobs bound to these computations, then the computations.

    A job may bind itself between the two; then both are let go and taken again with that job.

    Raises:
        Unavailable: jobs kept binding themselves to it for too many rounds.
    """
    bound = {"keys": sorted(keys)}
    if tx.single_writer:
        return _held(tx, bound)
    undo = tx.mark()
    for _ in range(_ROUNDS):
        held = _held(tx, bound)
        if held.jobs.keys() >= set(tx.execute(_BOUND, bound).scalars()):
            return held
        undo()
    raise Unavailable("Too many jobs are being bound to one computation.", cure="Try again.")


def _held(tx: Transaction, bound: Mapping[str, Any]) -> Held:
    states = {row.id: row.state for row in tx.execute(_LOCK_JOBS, bound)}
    return Held(states, {row.key: from_row(Computation, row) for row in tx.execute(_LOCK_COMPUTATIONS, bound)})


def spread(
    tx: Transaction,
    key: str,
    before: StepState,
    after: StepState,
    kind: events.Kind,
    data: Mapping[str, Any],
    *,
    error: Mapping[str, Any] | None = None,
    log: Sequence[str] = (),
) -> None:
    """Moves the steps bound to a computation along with it, and tells their jobs; before that, these lines of its log.

    Steps of canceling jobs that would be tried again are canceled instead.
    """
    if after == "ready":
        _spread(tx, _DROP, {"at": key, "before": before, "after": "canceled"}, "step.canceled", {})
    _spread(tx, _MOVE, {"at": key, "before": before, "after": after, "fault": error}, kind, data, log)


def _spread(
    tx: Transaction,
    move: Executable,
    values: Mapping[str, Any],
    kind: events.Kind,
    data: Mapping[str, Any],
    log: Sequence[str] = (),
) -> None:
    moved = tx.execute(move, values).all()
    for row in sorted(moved, key=lambda row: (row.job_id, row.position)):
        for line in log:
            events.add(tx, "log", {"line": line}, job_id=row.job_id, step=row.name)
        events.add(tx, kind, data, job_id=row.job_id, step=row.name)


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
    """Age, priority and place in the plan, of the running jobs that wait for this computation."""
    waiting = (
        select(jobs.c.created_at, jobs.c.priority, steps.c.position)
        .join(steps, jobs.c.id == steps.c.job_id)
        .where(steps.c.key == key, steps.c.state.in_(("ready", "leased")), jobs.c.state == "running")
    )
    return [Wish(row.created_at, row.priority, row.position) for row in tx.execute(waiting)]


def jobs_of(tx: Transaction, key: str, *, state: str) -> list[str]:
    """Ids of the jobs in that state with a step bound to this computation."""
    return [job_id for job_id, found in states_of(tx, key).items() if found == state]


def states_of(tx: Transaction, key: str) -> dict[str, str]:
    """States of the jobs with a step bound to this computation, by id, in the order of these."""
    return {row.id: row.state for row in tx.execute(_STATES, {"keys": [key]})}
