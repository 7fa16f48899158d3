"""Checking a schedule before it is accepted: its job as any job, and all that is around it, all faults at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from api.submission import check
from burnish.errors import Fault, InvalidSpec
from burnish.recipe import JobSpec, ScheduleSpec, Trigger, faults_of
from burnish.resources import ScheduleChange
from storage import schedules, timing
from storage.database import Transaction
from storage.schedules import Schedule

__all__ = ["changed_schedule", "new_schedule"]

_STAND_IN = JobSpec(model="-", dataset="-")
"""For a job that has faults, or is not looked at, while the rest of the document is checked."""


def new_schedule(tx: Transaction, document: Mapping[str, Any]) -> ScheduleSpec:
    """A schedule as it was sent. Raises `InvalidSpec` with every fault and its path."""
    return _checked(tx, document, None, job_is_new=True)


def changed_schedule(tx: Transaction, schedule: Schedule, document: Mapping[str, Any]) -> ScheduleSpec:
    """A schedule with the members that were sent in place of its own; the job is checked if it is among them.

    Raises:
        InvalidSpec: with every fault and its path.
    """
    unknown = [name for name in document if name not in ScheduleChange.model_fields]
    if unknown:
        raise InvalidSpec([_unchangeable(name) for name in unknown])
    return _checked(tx, {**schedule.spec, **document}, schedule, job_is_new="job" in document)


def _checked(
    tx: Transaction, document: Mapping[str, Any], present: Schedule | None, *, job_is_new: bool
) -> ScheduleSpec:
    faults: list[Fault] = []
    if job_is_new and isinstance(document.get("job"), Mapping):
        job = _job(tx, document["job"], faults)
        document = {**document, "job": job or _STAND_IN}
    spec: ScheduleSpec | None = None
    try:
        spec = ScheduleSpec.model_validate(document)
    except ValidationError as error:
        faults += faults_of(error)
    trigger = spec.trigger if spec else _trigger(document)
    if trigger:
        faults += timing.trigger_faults(trigger)
    if spec and spec.job is not _STAND_IN:
        faults += _matches(tx, spec)
    name = document.get("name")
    if isinstance(name, str) and (other := schedules.named(tx, name)) and (present is None or other.id != present.id):
        faults.append(
            Fault(where="/name", message=f"There is a schedule {name!r} already.", cure="Choose another name.")
        )
    if faults or spec is None:
        raise InvalidSpec(faults)
    return spec


def _job(tx: Transaction, document: Mapping[str, Any], faults: list[Fault]) -> JobSpec | None:
    try:
        return check(tx, document).spec
    except InvalidSpec as error:
        faults += [replace(fault, where=f"/job{fault.where.rstrip('/')}") for fault in error.faults]
        return None


def _trigger(document: Mapping[str, Any]) -> Trigger | None:
    """The trigger of a schedule that has faults elsewhere."""
    try:
        return Trigger.model_validate(document.get("trigger"))
    except ValidationError:
        return None


def _matches(tx: Transaction, spec: ScheduleSpec) -> Iterator[Fault]:
    """What trigger and kind ask of the job."""
    if spec.trigger.on in ("model", "dataset"):
        kind = spec.trigger.on
        ref = getattr(spec.job, kind)
        if ref.startswith(("mdl_", "dst_")) or ":" in ref:
            yield Fault(
                where=f"/job/{kind}",
                message=f"{ref!r} is one {kind} for good: nothing new can come of it.",
                cure=f"Write the name of the {kind} alone, which stands for the newest.",
            )
    if spec.kind == "remeasure" and spec.job.recipe.passes:
        yield Fault(
            where="/job/recipe/passes",
            message="A schedule of kind remeasure makes nothing, so it has no use for passes.",
            cure="Leave them out, or leave `kind` out.",
        )


def _unchangeable(name: str) -> Fault:
    if name in ScheduleSpec.model_fields:
        return Fault(
            where=f"/{name}", message=f"{name!r} can't be changed.", cure="Delete the schedule, and make another."
        )
    return Fault(where=f"/{name}", message=f"There is no setting {name!r} here.", cure="Remove it.")
