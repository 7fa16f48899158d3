"""Records of schedules and aliases as the documents that the API answers with."""

from __future__ import annotations

from urllib.parse import quote

from api.replies import moment
from api.understood import understood
from burnish.resources import (
    AliasEntryResource,
    AliasResource,
    DecisionResource,
    FaultResource,
    FiringResource,
    ScheduleResource,
)
from burnish.results import Artifact
from storage import aliases, firings
from storage.aliases import Entry
from storage.database import Transaction
from storage.firings import Firing
from storage.schedules import CURE, Schedule

__all__ = ["alias_address", "alias_entry", "alias_resource", "firing_resource", "schedule_resource"]

_CURE = "Run the version of Burnish that wrote it."


def schedule_resource(tx: Transaction, schedule: Schedule) -> ScheduleResource:
    """A schedule with the newest entry of its history, as far as it is understood."""
    last, address = firings.last(tx, schedule.id), f"/v1/schedules/{schedule.id}"
    links = {"self": address, **{name: f"{address}/{name}" for name in ("history", "run", "pause", "resume")}}
    known = {
        "id": schedule.id,
        "name": schedule.name,
        "state": schedule.state,
        "next_at": moment(schedule.next_at) if schedule.next_at is not None else None,
        "last": firing_resource(last) if last else None,
        "created_at": moment(schedule.created_at),
        "updated_at": moment(schedule.updated_at),
        "links": links,
    }
    faults = schedule.faults()
    if not faults:
        return ScheduleResource.model_validate({**dict(schedule.read()), **known})
    nothing = ScheduleResource.model_validate(known)
    shown, _ = understood(ScheduleResource, {**schedule.spec, **known}, at="", fallback=nothing)
    # What keeps it from firing may be more than what can't be shown: a part that this version does not do without.
    unread = tuple(FaultResource(where=fault.where, message=fault.message, cure=CURE) for fault in faults)
    return shown.model_copy(update={"not_understood": unread})


def firing_resource(firing: Firing) -> FiringResource:
    """An entry of a schedule's history, as far as it is understood."""
    decision, unread = (
        understood(DecisionResource, firing.decision, at="/decision", fallback=None, cure=_CURE)
        if firing.decision
        else (None, ())
    )
    links = {"schedule": f"/v1/schedules/{firing.schedule_id}"}
    if firing.job_id is not None:
        links |= {"job": f"/v1/jobs/{firing.job_id}", "html": f"/jobs/{firing.job_id}"}
    return FiringResource.model_validate(
        {
            "id": firing.id,
            "at": moment(firing.at),
            "due_at": moment(firing.due_at) if firing.due_at is not None else None,
            "cause": firing.cause,
            "outcome": firing.outcome,
            "reason": firing.reason,
            "job": firing.job_id,
            "decision": decision,
            "not_understood": unread,
            "links": links,
        }
    )


def alias_address(model: str, alias: str) -> str:
    """Of an alias's document."""
    return f"/v1/models/{quote(model, safe='')}/aliases/{alias}"


def alias_resource(tx: Transaction, entry: Entry) -> AliasResource:
    """What an alias stands for."""
    before = aliases.entry(tx, entry.previous_id) if entry.previous_id else None
    address = alias_address(entry.model, entry.alias)
    return AliasResource(
        model=entry.model,
        alias=entry.alias,
        revision=entry.revision,
        entry=alias_entry(entry),
        previous=before.digest if before else None,
        links={
            "self": address,
            **{name: f"{address}/{name}" for name in ("artifact", "history", "rollback")},
            "job": f"/v1/jobs/{entry.job_id}",
        },
    )


def alias_entry(entry: Entry) -> AliasEntryResource:
    """An entry of an alias's history."""
    return AliasEntryResource.model_validate(
        {
            "id": entry.id,
            "action": entry.action,
            "reason": entry.reason,
            "artifact": Artifact.model_validate(entry.artifact),
            "candidate": entry.candidate,
            "job": entry.job_id,
            "model_version": entry.model_version,
            "at": moment(entry.at),
            "kept": entry.kept,
        }
    )
