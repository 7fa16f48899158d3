"""Steps: the nodes of one job's graph. A step is bound to a computation once its inputs are known, and follows it.

| from | to | by |
| --- | --- | --- |
| (none) | `waiting` | `jobs.plan` |
| `waiting` | `ready`, `leased`, `done` | `bind`, as its computation stands (`done` is a cache hit) |
| `waiting` | `canceled` | `skip`, or the end of its job |
| `ready` | `waiting` | `unbind`: no worker computes that key any more |
| `done`, `leased` | `waiting` | `recovery.recompute`: the store lost what it made, or an input of it |
| `ready`, `leased` | any later state | its computation moves (`storage/computations.py`), or its job ends |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, select, update

from burnish.errors import Conflict
from storage import bindings, computations, events
from storage.database import Transaction
from storage.nearest import explain
from storage.records import Step, from_row
from storage.tables import computations as computation_table
from storage.tables import jobs, steps

__all__ = [
    "PlannedStep",
    "Waiting",
    "bind",
    "bound_to",
    "of_job",
    "skip",
    "unbind",
]

_EVENT: dict[str, events.Kind] = {"ready": "step.ready", "leased": "step.leased", "done": "step.done"}
_JOINED = (
    "inputs", "attempt", "failures", "worker", "progress", "doing", "outputs", "report", "reasons",
    "seconds", "peak_memory", "started_at", "finished_at",
)  # fmt: skip
"""Columns of the computation that a step shows."""
_OF_JOB = (
    select(steps, *(computation_table.c[name] for name in _JOINED))
    .outerjoin_from(steps, computation_table, steps.c.key == computation_table.c.key)
    .where(steps.c.job_id == bindparam("job"))
    .order_by(steps.c.position)
)
_LEAVE_WAITING = update(steps).where(
    steps.c.job_id == bindparam("of"), steps.c.name == bindparam("which"), steps.c.state == "waiting"
)


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A node of the graph as the planner makes it."""

    name: str
    """Unique in its job, and used by other steps' inputs."""
    op: str
    spec: Mapping[str, Any]
    """`settings`, `inputs` ({role: `step.role` or `sha256:digest`}), `target`, `seed`."""
    queue: str
    optional: bool = False
    """Its failure does not fail the job."""


@dataclass(frozen=True)
class Waiting:
    """Who waits for a computation."""

    job_id: str
    step: str
    traceparent: str | None
    """The job's."""


def bound_to(tx: Transaction, key: str) -> list[Waiting]:
    """The steps that wait for a computation, the one of the oldest job first."""
    open_ = steps.c.state.in_(("ready", "leased"))
    found = (
        select(steps.c.job_id, steps.c.name, jobs.c.traceparent)
        .join(jobs, jobs.c.id == steps.c.job_id)
        .where(steps.c.key == key, open_)
        .order_by(steps.c.job_id, steps.c.position)
    )
    return [Waiting(row.job_id, row.name, row.traceparent) for row in tx.execute(found)]


def of_job(tx: Transaction, job_id: str) -> list[Step]:
    """The steps of a job, in the planner's order, each with what is known of its computation."""
    return [from_row(Step, row) for row in tx.execute(_OF_JOB, {"job": job_id})]


def bind(
    tx: Transaction,
    step: Step,
    *,
    key: str,
    inputs: Mapping[str, str],
    key_parts: Mapping[str, Any],
    queue: str,
    alone: bool,
    priority: int,
    since: float | None = None,
) -> Step:
    """Binds a waiting step to the computation of its key: a cache hit if that is done, a share in it if it is ready or
    running, else a new (or re-armed) one. The computation runs `step.op` with `step.spec` as given here.

    The caller holds the job (`jobs.lock`). Bind the steps of one transaction in the order of their keys: two jobs that
    bind the same new keys in different orders may deadlock, and then one of them gets `Unavailable`.

    Args:
        since: when the job was created, if the caller knows it.

    Raises:
        Conflict: the step is not waiting any more.
    """
    spec = dict(step.spec)
    if since is None:
        since = tx.execute(select(jobs.c.created_at).where(jobs.c.id == step.job_id)).scalar_one()
    found, before = computations.arm(
        tx, key, op=step.op, spec=spec, inputs=inputs, key_parts=key_parts, queue=queue,
        alone=alone, priority=priority, since=since, position=step.position,
    )  # fmt: skip
    hit = found.state == "done"
    tx.count("cache_hits" if hit else "cache_misses")
    why = {**explain(tx, step.op, key, key_parts, before), "hit": hit}
    moved: dict[str, Any] = {"state": found.state, "key": key, "hit": hit, "why": why, "spec": spec, "queue": queue}
    _leave_waiting(tx, step, moved)
    events.add(tx, _EVENT[found.state], {"key": key, **why}, job_id=step.job_id, step=step.name)
    known: dict[str, Any] = {name: getattr(found, name) for name in _JOINED}
    return replace(step, **moved, **known)


def skip(tx: Transaction, step: Step, reason: str) -> None:
    """Leaves out a waiting step that has nothing to work on (a backend that refused has nothing to verify).

    Raises:
        Conflict: the step is not waiting any more.
    """
    _leave_waiting(tx, step, {"state": "canceled", "why": {"hit": False, "skipped": reason}})
    events.add(tx, "step.canceled", {"skipped": reason}, job_id=step.job_id, step=step.name)


def unbind(tx: Transaction, key: str) -> list[str]:
    """Takes ready steps of running jobs off a computation that no worker can run any more (it was planned by another
    version, or for another machine), so that they can be bound anew. Does nothing once it is leased.

    Returns:
        Ids of the jobs to advance.
    """
    bindings.lock(tx, [key])
    found = computations.get(tx, key)
    if found is None or found.state != "ready":
        return []
    affected = bindings.jobs_of(tx, key, state="running")
    bound = (steps.c.key == key, steps.c.state == "ready", steps.c.job_id.in_(affected))
    freed = tx.execute(
        select(steps.c.job_id, steps.c.name).where(*bound).order_by(steps.c.job_id, steps.c.position)
    ).all()
    tx.execute(update(steps).where(*bound).values(state="waiting", key=None, why=None))
    for row in freed:
        events.add(tx, "step.retry", {"unbound": key}, job_id=row.job_id, step=row.name)
    computations.abandon(tx, key)
    return affected


def _leave_waiting(tx: Transaction, step: Step, values: Mapping[str, Any]) -> None:
    if tx.execute(_LEAVE_WAITING, {"of": step.job_id, "which": step.name, **values}).rowcount != 1:
        raise Conflict(
            f"Step {step.name} of {step.job_id} is not waiting any more.",
            cure="Hold the job with jobs.lock, and read its steps again.",
        )
