"""Jobs: from acceptance to exactly one end.

| from | to | by | when |
| --- | --- | --- | --- |
| (none) | `queued` | `create` | |
| `queued` | `running` | `plan` | once, however many doorbells ring |
| `running` | `succeeded` | `succeed` | |
| `queued`, `running` | `failed` | `fail` | |
| `queued` | `canceled` | `request_cancel` | |
| `running` | `canceling` | `request_cancel` | a worker has yet to stop a step that only this job wants |
| `running` | `canceled` | `request_cancel` | otherwise |
| `canceling` | `canceled` | the end of its last leased step (`bindings.settle`) | |
| `failed`, `canceled` | `queued` | `retry` | its steps are planned anew; what was done is in the cache |

Whoever changes a job, its steps or its events holds its row (`lock`, or `bindings.lock` from a computation's side).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, Unpack

from sqlalchemy import Select, bindparam, delete, exists, func, or_, select, update

from burnish.errors import Conflict, NotFound
from storage import bindings, computations, events
from storage.database import Transaction
from storage.ids import new_id
from storage.records import Dataset, Job, JobState, Model, from_row
from storage.steps import PlannedStep
from storage.tables import jobs, models, steps
from storage.turns import AGEING

__all__ = [
    "JobFilter",
    "create",
    "extend",
    "fail",
    "get",
    "list_",
    "list_marks",
    "lock",
    "plan",
    "request_cancel",
    "retry",
    "set_priority",
    "stuck",
    "succeed",
    "unplanned",
    "version",
]

_GET = select(jobs).where(jobs.c.id == bindparam("job"))
_LOCK = _GET.with_for_update(key_share=True)
_ADD_STEP = steps.insert()


def create(
    tx: Transaction,
    *,
    spec: Mapping[str, Any],
    model: Model,
    dataset: Dataset,
    priority: int,
    traceparent: str | None = None,
) -> Job:
    """Accepts a job. It is durable when the transaction is committed; a doorbell may be rung then."""
    job_id = new_id("job")
    of_model = {"model_id": model.id, "model": model.ref, "model_digest": model.digest}
    of_dataset = {"dataset_id": dataset.id, "dataset": dataset.name, "dataset_digest": dataset.digest}
    fixed = {"id": job_id, "spec": dict(spec), "priority": priority, "created_at": tx.now, "revision": 0}
    fixed["traceparent"] = traceparent
    tx.execute(jobs.insert().values(**fixed, **of_model, **of_dataset, state="queued"))
    events.add(tx, "job.queued", {"model": model.ref, "dataset": dataset.name}, job_id=job_id)
    return get(tx, job_id)


def get(tx: Transaction, job_id: str) -> Job:
    """The job. Raises `NotFound`."""
    tx.write_notes()
    return _one(tx, job_id, locked=False)


def lock(tx: Transaction, job_id: str) -> Job:
    """The job, held until the end of the transaction: what starts from one job happens one after the other.

    Its revision does not count the events of this transaction.
    """
    return _one(tx, job_id, locked=True)


def version(tx: Transaction, job_id: str) -> int:
    """Its revision, which grows with every change of the job, its steps or their progress. Raises `NotFound`."""
    tx.write_notes()
    revision = tx.execute(select(jobs.c.revision).where(jobs.c.id == job_id)).scalar()
    if revision is None:
        raise _missing(job_id)
    return int(revision)


class JobFilter(TypedDict, total=False):
    """Which jobs a list has; what is `None` or left out does not narrow it."""

    state: JobState | None
    model: str | None
    """An id (`mdl_…`) or a name (any version)."""
    outcome: str | None
    """Of their verdict."""
    search: str | None
    """A part of the model's or the dataset's name, or of the job's id, in any case."""


def list_(tx: Transaction, *, after: str | None, limit: int, **wanted: Unpack[JobFilter]) -> list[Job]:
    """Jobs, newest first, older than the job `after`."""
    return [from_row(Job, row) for row in tx.execute(_listed(select(jobs), after, limit, wanted))]


def list_marks(
    tx: Transaction, *, after: str | None, limit: int, **wanted: Unpack[JobFilter]
) -> list[tuple[str, str, float | None]]:
    """Id, state and end of the jobs that `list_` gives, without reading their documents: what changes in a list."""
    columns = select(jobs.c.id, jobs.c.state, jobs.c.finished_at)
    return [(row.id, row.state, row.finished_at) for row in tx.execute(_listed(columns, after, limit, wanted))]


def _listed(columns: Select[Any], after: str | None, limit: int, wanted: JobFilter) -> Select[Any]:
    state, model = wanted.get("state"), wanted.get("model")
    outcome, search = wanted.get("outcome"), wanted.get("search")
    page = columns.order_by(jobs.c.id.desc()).limit(limit)
    if after is not None:
        page = page.where(jobs.c.id < after)
    if state is not None:
        page = page.where(jobs.c.state == state)
    if outcome is not None:
        page = page.where(jobs.c.outcome == outcome)
    if model is not None:
        named = select(models.c.id).where(or_(models.c.id == model, models.c.name == model))
        page = page.where(jobs.c.model_id.in_(named))
    if search is not None:
        shown = (jobs.c.model, jobs.c.dataset, jobs.c.id)
        page = page.where(or_(*(column.icontains(search, autoescape=True) for column in shown)))
    return page


def plan(tx: Transaction, job_id: str, planned: Sequence[PlannedStep]) -> bool:
    """queued → running, with all steps waiting. False if it isn't queued: a duplicate doorbell, or canceled."""
    if not _move(tx, job_id, ("queued",), state="running", started_at=tx.now, dispatched_at=None):
        return False
    _add_steps(tx, job_id, planned, first=0)
    return True


def extend(tx: Transaction, job_id: str, planned: Sequence[PlannedStep]) -> None:
    """Gives a running job, which the caller holds by `lock`, more steps behind those it has."""
    count = tx.execute(select(func.count()).select_from(steps).where(steps.c.job_id == job_id)).scalar_one()
    _add_steps(tx, job_id, planned, first=count)


def _add_steps(tx: Transaction, job_id: str, planned: Sequence[PlannedStep], first: int) -> None:
    waiting = {"job_id": job_id, "state": "waiting", "hit": False}
    rows = []
    for position, step in enumerate(planned, first):
        fixed = {"name": step.name, "op": step.op, "spec": dict(step.spec), "queue": step.queue}
        rows.append({**waiting, **fixed, "optional": step.optional, "position": position})
    if rows:
        tx.execute_many(_ADD_STEP, rows)
    events.add(tx, "job.planned", {"steps": [step.name for step in planned]}, job_id=job_id)


def unplanned(tx: Transaction, limit: int, rung_before: float = -math.inf) -> list[Job]:
    """Queued jobs whose doorbell was never rung, or last at a time before `rung_before`, in the order of their turns;
    they count as rung from now on, so publish them after the commit."""
    order = (jobs.c.created_at + AGEING * jobs.c.priority, jobs.c.id)
    return _due(tx, select(jobs).where(jobs.c.state == "queued").order_by(*order).limit(limit), rung_before)


def stuck(tx: Transaction, limit: int, rung_before: float = -math.inf) -> list[Job]:
    """Running jobs with no step ready or leased: nobody advances them unless their doorbell is rung (an advance was cut
    short). Which of them, and what they count as, as for `unplanned`."""
    moving = exists().where(steps.c.job_id == jobs.c.id, steps.c.state.in_(("ready", "leased")))
    idle = select(jobs).where(jobs.c.state == "running", ~moving).order_by(jobs.c.id).limit(limit)
    return _due(tx, idle, rung_before)


def _due(tx: Transaction, wanted: Select[Any], rung_before: float) -> list[Job]:
    """Those of the wanted jobs whose doorbell is due; it counts as rung."""
    due = wanted.where(or_(jobs.c.dispatched_at.is_(None), jobs.c.dispatched_at < rung_before))
    found = [from_row(Job, row) for row in tx.execute(due.with_for_update(skip_locked=True, key_share=True))]
    if found:
        tx.execute(update(jobs).where(jobs.c.id.in_([job.id for job in found])).values(dispatched_at=tx.now))
    return found


def succeed(tx: Transaction, job_id: str, verdict: Mapping[str, Any]) -> bool:
    """running → succeeded. False if it isn't running any more (canceled meanwhile)."""
    outcome = verdict.get("outcome")
    done = {"state": "succeeded", "verdict": dict(verdict), "outcome": outcome, "finished_at": tx.now}
    if not _move(tx, job_id, ("running",), **done):
        return False
    events.add(tx, "job.succeeded", {"outcome": outcome}, job_id=job_id)
    _drop_steps(tx, job_id)
    return True


def fail(tx: Transaction, job_id: str, error: Mapping[str, Any]) -> bool:
    """queued or running → failed; its other steps are canceled, and computations that no other job wants are stopped.
    False if it was neither: ended, or to be canceled anyway."""
    if not _move(tx, job_id, ("queued", "running"), state="failed", error=dict(error), finished_at=tx.now):
        return False
    events.add(tx, "job.failed", error, job_id=job_id)
    _drop_steps(tx, job_id)
    return True


def set_priority(tx: Transaction, job_id: str, priority: int) -> Job:
    """Moves a job that has not ended to another priority, and its ready steps with it; the time that it has waited
    still counts. What it shares with other jobs goes by the most urgent of them.

    Raises:
        NotFound: no such job.
        Conflict: it has ended, or is being canceled.
    """
    job = lock(tx, job_id)
    if job.state not in ("queued", "running"):
        raise Conflict(
            f"Job {job_id} is {job.state}; only what still waits or runs has a priority.",
            cure="There is nothing to hurry; read its result.",
        )
    if job.priority == priority:
        return job
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(priority=priority, dispatched_at=None))
    events.add(tx, "job.priority", {"priority": priority, "before": job.priority}, job_id=job_id)
    waiting = (steps.c.job_id == job_id, steps.c.state.in_(("ready", "leased")))
    for key in tx.execute(select(steps.c.key).where(*waiting).distinct().order_by(steps.c.key)).scalars().all():
        computations.prioritize(tx, key)
    return get(tx, job_id)


def request_cancel(tx: Transaction, job_id: str) -> Job:
    """Cancels a job, at once unless a worker has yet to stop a step of it. Asking again changes nothing.

    Raises:
        NotFound: no such job.
        Conflict: it has succeeded or failed already.
    """
    job = lock(tx, job_id)
    if job.state in ("succeeded", "failed"):
        raise Conflict(f"Job {job_id} has {job.state} already.", cure="There is nothing to cancel; read its result.")
    if _move(tx, job_id, ("queued",), state="canceled", finished_at=tx.now):
        events.add(tx, "job.canceled", {}, job_id=job_id)
    elif _move(tx, job_id, ("running",), state="canceling"):
        events.add(tx, "job.canceling", {}, job_id=job_id)
        _drop_steps(tx, job_id, wait_for_workers=True)
        bindings.settle(tx, [job_id])
    return get(tx, job_id)


def retry(tx: Transaction, job_id: str) -> Job:
    """failed or canceled → queued, to be planned anew.

    Raises:
        NotFound: no such job.
        Conflict: it has not ended, or has succeeded.
    """
    fresh = {"state": "queued", "error": None, "started_at": None, "finished_at": None, "dispatched_at": None}
    job = lock(tx, job_id)
    if not _move(tx, job_id, ("failed", "canceled"), **fresh):
        raise Conflict(
            f"Job {job_id} is {job.state}; only a failed or canceled job can be retried.",
            cure="Submit a new job to run it again." if job.state == "succeeded" else "Wait for its end, or cancel it.",
        )
    tx.count("jobs", job.state, by=-1)
    tx.execute(delete(steps).where(steps.c.job_id == job_id))
    events.add(tx, "job.queued", {"retry": True}, job_id=job_id)
    return get(tx, job_id)


def _drop_steps(tx: Transaction, job_id: str, *, wait_for_workers: bool = False) -> None:
    """Cancels the open steps of a job that isn't running any more, in the order of their keys (which get locked)."""
    unfinished = steps.c.state.in_(("waiting", "ready", "leased"))
    found = tx.execute(select(steps.c.name, steps.c.key).where(steps.c.job_id == job_id, unfinished)).all()
    for row in sorted(found, key=lambda row: (row.key or "", row.name)):
        stopping = row.key is not None and computations.abandon(tx, row.key)
        if stopping and wait_for_workers:
            continue
        this = (steps.c.job_id == job_id, steps.c.name == row.name)
        tx.execute(update(steps).where(*this).values(state="canceled"))
        events.add(tx, "step.canceled", {}, job_id=job_id, step=row.name)


def _move(tx: Transaction, job_id: str, before: Sequence[JobState], **values: Any) -> bool:
    """The one UPDATE that every transition is: only from the states named."""
    moved = tx.execute(update(jobs).where(jobs.c.id == job_id, jobs.c.state.in_(before)).values(**values)).rowcount == 1
    if moved and values["state"] in ("succeeded", "failed", "canceled"):
        tx.count("jobs", values["state"])
    return moved


def _one(tx: Transaction, job_id: str, *, locked: bool) -> Job:
    row = tx.execute(_LOCK if locked else _GET, {"job": job_id}).first()
    if row is None:
        raise _missing(job_id)
    return from_row(Job, row)


def _missing(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id}.", cure="List the jobs to see those that exist.")
