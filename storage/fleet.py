"""What the workers are doing now, with the jobs it is for."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, literal, select

from storage.database import Transaction
from storage.tables import computations, jobs, steps

__all__ = ["Running", "ServedJob", "at_work"]

_LIVE = ("queued", "running", "canceling")


@dataclass(frozen=True, kw_only=True)
class ServedJob:
    """A live job that waits for a computation."""

    id: str
    model: str
    step: str


@dataclass(frozen=True, kw_only=True)
class Running:
    """A computation that a worker has leased."""

    key: str
    op: str
    doing: str | None
    progress: float
    started_at: float | None
    jobs: tuple[ServedJob, ...]
    """More than one if several jobs share it."""


def at_work(tx: Transaction) -> dict[str, list[Running]]:
    """The leased computations by the id of their worker, the oldest first. Costs as much as there are of them."""
    live = and_(jobs.c.id == steps.c.job_id, jobs.c.state.in_(_LIVE))
    columns = (computations.c.worker, computations.c.key, computations.c.op, computations.c.doing)
    more = (computations.c.progress, computations.c.started_at)
    rows = tx.execute(
        select(*columns, *more, jobs.c.id.label("job_id"), jobs.c.model, steps.c.name.label("step"))
        .select_from(computations)
        .outerjoin(steps, steps.c.key == computations.c.key)
        .outerjoin(jobs, live)
        .where(computations.c.state == literal("leased", literal_execute=True))  # so that a partial index fits
        .order_by(computations.c.started_at, computations.c.key, jobs.c.id)
    ).all()
    served: dict[str, list[ServedJob]] = {}
    for row in rows:
        named = served.setdefault(row.key, [])
        if row.job_id is not None:
            named.append(ServedJob(id=row.job_id, model=row.model, step=row.step))
    found: dict[str, list[Running]] = {}
    for key, row in {row.key: row for row in rows}.items():
        found.setdefault(row.worker, []).append(
            Running(
                key=key,
                op=row.op,
                doing=row.doing,
                progress=row.progress,
                started_at=row.started_at,
                jobs=tuple(served[key]),
            )
        )
    return found
