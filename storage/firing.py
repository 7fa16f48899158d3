"""Firing a schedule: from "it is due" to a job, or to the reason why there is none.

Everything happens in the transaction that took the schedule (`schedules.take`):

1. If the job before has not ended, the overlap policy decides: skip, wait (one at most), or cancel that job.
2. The names of model and dataset are resolved to what is newest now, and the two must still fit each other.
3. If the result is to be held against a champion, the artifact under the alias is noted with the firing: the planner
   adds it to the contenders, and what is decided at the end holds only if the alias still stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from burnish.errors import Conflict, NotFound
from burnish.formats import DatasetSchema
from burnish.formats.fit import faults as fit_faults
from burnish.recipe import ScheduleSpec
from burnish.results import Signature
from storage import aliases, datasets, firings, jobs, models, outbox, schedules
from storage.database import Transaction
from storage.firings import Firing
from storage.records import Dataset, Model
from storage.schedules import Schedule

__all__ = ["Cause", "fire", "fire_waiting", "skip"]

_LIVE = ("queued", "running", "canceling")


@dataclass(frozen=True)
class Cause:
    """Why a schedule is to fire."""

    name: str
    """`cron`, `every`, `manual`, the occasion, or `unknown`."""
    reason: str
    """The same in words."""
    due_at: float | None = None


class _NotNow(Exception):
    """No job can be made; the message says why."""


def fire(tx: Transaction, schedule: Schedule, cause: Cause) -> Firing:
    """Makes a job of a schedule that the caller has taken, or notes why not."""
    try:
        spec = _spec(schedule)
        before = _live_job(tx, schedule)
        if before is not None and spec.overlap == "queue":
            if firings.waits(tx, schedule.id):
                raise _NotNow(f"Job {before} has not ended, and one firing waits for it already.")
            reason = f"{cause.reason} It waits for the end of job {before}."
            return _add(tx, schedule, cause, outcome="waiting", reason=reason)
        if before is not None and spec.overlap == "skip":
            raise _NotNow(f"Job {before} of the firing before has not ended.")
        with tx.savepoint():
            made = _submit(tx, schedule, spec)
            reason = cause.reason
            if before is not None and _cancel(tx, before):
                reason = f"{reason} Job {before} was canceled for it."
        return _add(tx, schedule, cause, outcome="fired", reason=reason, **made)
    except _NotNow as why:
        return skip(tx, schedule, cause, str(why))


def fire_waiting(tx: Transaction, schedule: Schedule, firing: Firing) -> Firing:
    """Makes the job of a firing that waited, now that the one before has ended. The caller has taken the schedule."""
    try:
        with tx.savepoint():
            made = _submit(tx, schedule, _spec(schedule))
        return firings.start(tx, firing, outcome="fired", **made)
    except _NotNow as why:
        _tell_skipped(tx, schedule, firing.cause, str(why))
        return firings.start(tx, firing, outcome="skipped", reason=str(why))


def skip(tx: Transaction, schedule: Schedule, cause: Cause, why: str) -> Firing:
    """Notes that a schedule that the caller has taken did not fire, and tells webhooks."""
    _tell_skipped(tx, schedule, cause.name, why)
    return _add(tx, schedule, cause, outcome="skipped", reason=why)


def _add(tx: Transaction, schedule: Schedule, cause: Cause, **values: Any) -> Firing:
    return firings.add(tx, schedule.id, cause=cause.name, due_at=cause.due_at, **values)


def _tell_skipped(tx: Transaction, schedule: Schedule, cause: str, why: str) -> None:
    outbox.publish(
        tx, "schedule.skipped", {"schedule": schedule.id, "name": schedule.name, "cause": cause, "reason": why}
    )


def _spec(schedule: Schedule) -> ScheduleSpec:
    try:
        return schedule.read()
    except Conflict as error:  # written by another version of Burnish
        raise _NotNow(str(error)) from error


def _submit(tx: Transaction, schedule: Schedule, spec: ScheduleSpec) -> dict[str, Any]:
    """The job and its contest, as columns of a firing. Raises `_NotNow`."""
    try:
        model = models.resolve(tx, spec.job.model)
        contest = _contest(tx, spec, model)
        if spec.kind == "remeasure" and contest is not None:
            model = models.get(tx, contest["champion"]["model_id"])
        dataset = datasets.resolve(tx, spec.job.dataset)
    except NotFound as error:
        raise _NotNow(error.message) from error
    _require_fit(model, dataset, spec.job.recipe.target.batch)
    document = spec.job.model_dump(mode="json")
    job = jobs.create(tx, spec=document, model=model, dataset=dataset, priority=spec.job.priority)
    schedules.note_job(tx, schedule.id, job.id)
    return {"job_id": job.id, "contest": contest}


def _contest(tx: Transaction, spec: ScheduleSpec, model: Model) -> dict[str, Any] | None:
    if spec.alias is None:
        return None
    champion = aliases.find(tx, model.name, spec.alias)
    if champion is None and spec.kind == "remeasure":
        raise _NotNow(f"The alias {spec.alias} of {model.name} stands for nothing: there is no champion to measure.")
    known = None
    if champion is not None:
        known = {"entry": champion.id, "artifact": champion.artifact, "model_id": champion.model_id}
        known["candidate"] = champion.candidate
    return {"kind": spec.kind, "model": model.name, "alias": spec.alias, "champion": known}


def _require_fit(model: Model, dataset: Dataset, batch: int) -> None:
    schema, signature = DatasetSchema.model_validate(dataset.schema), Signature.model_validate(model.signature)
    found = fit_faults(schema, signature, batch)
    if found:
        told = " ".join(f"{fault.where}: {fault.message}" for fault in found)
        raise _NotNow(f"The dataset {dataset.name} ({dataset.id}) does not fit {model.ref}: {told}")


def _live_job(tx: Transaction, schedule: Schedule) -> str | None:
    if schedule.last_job_id is None:
        return None
    return schedule.last_job_id if jobs.get(tx, schedule.last_job_id).state in _LIVE else None


def _cancel(tx: Transaction, job_id: str) -> bool:
    try:
        jobs.request_cancel(tx, job_id)
    except Conflict:  # it has ended meanwhile
        return False
    return True
