"""Models by name: their versions, and the results that came of them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from storage.database import Transaction
from storage.records import Job, Model, from_row
from storage.tables import jobs, models

__all__ = ["Named", "named", "of_name", "results"]


@dataclass(frozen=True, kw_only=True)
class Named:
    """A name, and what there is of it."""

    newest: Model
    """The version with the highest number."""
    versions: int
    id: str
    """A cursor: the id of the version that was uploaded last."""


def named(tx: Transaction, *, after: str | None, limit: int) -> list[Named]:
    """Names of models, the one that was uploaded to last first, older than the cursor `after`."""
    latest = func.max(models.c.id).label("latest")
    grouped = select(latest, func.count().label("versions")).group_by(models.c.name)
    if after is not None:
        grouped = grouped.having(func.max(models.c.id) < after)
    chosen = grouped.order_by(latest.desc()).limit(limit).subquery()
    rows = tx.execute(
        select(models, chosen.c.versions).join(chosen, chosen.c.latest == models.c.id).order_by(models.c.id.desc())
    ).all()
    return [Named(newest=from_row(Model, row), versions=row.versions, id=row.id) for row in rows]


def of_name(tx: Transaction, name: str, *, limit: int) -> list[Model]:
    """Versions of a name, newest first."""
    found = select(models).where(models.c.name == name).order_by(models.c.version.desc()).limit(limit)
    return [from_row(Model, row) for row in tx.execute(found)]


def results(tx: Transaction, name: str, *, limit: int) -> list[Job]:
    """Jobs of any version of a name that have succeeded, newest first."""
    versions = select(models.c.id).where(models.c.name == name)
    found = select(jobs).where(jobs.c.model_id.in_(versions), jobs.c.state == "succeeded")
    return [from_row(Job, row) for row in tx.execute(found.order_by(jobs.c.id.desc()).limit(limit))]
