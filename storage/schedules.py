"""Schedules: jobs that are submitted again and again. What makes one fire is in `storage/firing.py`.

A schedule's `revision` grows with every change and every firing. Whoever fires one takes it by compare-and-set on that
revision (`take`), in the transaction that makes the job: of two ticks that find it due, one makes the job.

Order of locks: schedules, then jobs (and what comes after these, `storage/bindings.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import delete, select, update

from burnish.errors import Conflict, Fault, NotFound
from burnish.recipe import ScheduleSpec, Trigger, faults_of
from storage import firings, occasions, timing
from storage.database import Transaction
from storage.ids import new_id
from storage.records import from_row
from storage.tables import firings as history
from storage.tables import schedules

__all__ = [
    "CURE",
    "Schedule",
    "change",
    "create",
    "due",
    "get",
    "list_",
    "named",
    "note_job",
    "pause",
    "remove",
    "resume",
    "take",
    "waiting_for_news",
]


CURE = "Update this service to the version that wrote it, or delete the schedule and create it again."
"""Of a schedule that this version can't read."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A stored schedule."""

    id: str
    name: str
    spec: dict[str, Any]
    """A `ScheduleSpec` as it was accepted."""
    state: str
    """`active` or `paused`."""
    occasion: str | None
    """Set if its trigger is an event."""
    seen: dict[str, Any] | None
    """What that occasion looked like at the last firing."""
    anchor: float
    """When its trigger was set."""
    next_at: float | None
    """When it is due, if its trigger is a time and it is active."""
    revision: int
    last_job_id: str | None
    """The newest job it made."""
    created_at: float
    updated_at: float

    @property
    def trigger(self) -> Trigger | None:
        """When it fires; `None` if another version of Burnish wrote that, and this one can't tell."""
        try:
            trigger = Trigger.model_validate(self.spec.get("trigger"))
        except ValidationError:
            return None
        return None if timing.trigger_faults(trigger) else trigger

    def faults(self) -> list[Fault]:
        """What another version of Burnish wrote of it and this one can't read; nothing as a rule."""
        try:
            spec = ScheduleSpec.model_validate(self.spec)
        except ValidationError as error:
            return faults_of(error)
        return timing.trigger_faults(spec.trigger)

    def read(self) -> ScheduleSpec:
        """What it does, if all of it is understood: a part that is not may change what the others mean.

        Raises:
            Conflict: another version of Burnish wrote parts of it that this one can't read.
        """
        faults = self.faults()
        if faults:
            raise Conflict(
                f"Schedule {self.name} does not fire: another version of Burnish wrote parts of it that this one can't "
                f"read. {' '.join(f'{fault.where}: {fault.message}' for fault in faults)}",
                cure=CURE,
            )
        return ScheduleSpec.model_validate(self.spec)


def create(tx: Transaction, spec: ScheduleSpec) -> Schedule:
    """A new schedule, active from now on. Raises `Conflict`: its name is taken."""
    schedule_id = new_id("sch")
    fixed = {"id": schedule_id, "revision": 0, "created_at": tx.now, "state": "active"}
    if not tx.insert_new(schedules, {**fixed, **_columns(tx, spec), **_armed(tx, spec)}):
        raise _taken(spec.name)
    return get(tx, schedule_id)


def get(tx: Transaction, ref: str) -> Schedule:
    """The schedule with this id or this name. Raises `NotFound`."""
    return _one(tx, ref, locked=False)


def named(tx: Transaction, name: str) -> Schedule | None:
    """The schedule of that name, if there is one."""
    row = tx.execute(select(schedules).where(schedules.c.name == name)).first()
    return None if row is None else from_row(Schedule, row)


def list_(tx: Transaction, *, after: str | None, limit: int) -> list[Schedule]:
    """Schedules, newest first, older than the schedule `after`."""
    page = select(schedules).order_by(schedules.c.id.desc()).limit(limit)
    if after is not None:
        page = page.where(schedules.c.id < after)
    return [from_row(Schedule, row) for row in tx.execute(page)]


def change(tx: Transaction, ref: str, spec: ScheduleSpec) -> Schedule:
    """Replaces what a schedule does. If its trigger, or what that looks at, is another one now, it counts from now; so
    does one that could not be read.

    Raises:
        NotFound: no such schedule.
        Conflict: the new name is taken.
    """
    found = _one(tx, ref, locked=True)
    other = named(tx, spec.name)
    if other is not None and other.id != found.id:
        raise _taken(spec.name)
    values = _columns(tx, spec)
    if found.faults() or _watched(found.read()) != _watched(spec):
        values |= _armed(tx, spec) if found.state == "active" else _disarmed(tx, spec)
    return _write(tx, found, values)


def pause(tx: Transaction, ref: str) -> Schedule:
    """Fires no more until it is resumed. Its job, if one runs, goes on. Raises `NotFound`."""
    found = _one(tx, ref, locked=True)
    if found.state == "paused":
        return found
    firings.end_waiting(tx, found.id, "The schedule was paused while it waited.")
    return _write(tx, found, {"state": "paused", "next_at": None, "updated_at": tx.now})


def resume(tx: Transaction, ref: str) -> Schedule:
    """Fires again, from now on: what was due, or was new, while it was paused is not caught up.

    Raises:
        NotFound: no such schedule.
        Conflict: it can't fire, since another version of Burnish wrote parts of it that this one can't read.
    """
    found = _one(tx, ref, locked=True)
    spec = found.read()
    if found.state == "active":
        return found
    armed = {**_armed(tx, spec), "anchor": found.anchor}
    armed["next_at"] = timing.next_due(spec.trigger, anchor=found.anchor, after=tx.now)
    return _write(tx, found, {"state": "active", "updated_at": tx.now, **armed})


def remove(tx: Transaction, ref: str) -> None:
    """Deletes a schedule and its history. Its jobs stay, and promote nothing any more. Raises `NotFound`."""
    found = _one(tx, ref, locked=True)
    tx.execute(delete(history).where(history.c.schedule_id == found.id))
    tx.execute(delete(schedules).where(schedules.c.id == found.id))


def due(tx: Transaction, limit: int = 100) -> list[Schedule]:
    """Active schedules whose time has come, the one that waits longest first."""
    found = select(schedules).where(schedules.c.next_at <= tx.now).order_by(schedules.c.next_at).limit(limit)
    return [from_row(Schedule, row) for row in tx.execute(found)]


def waiting_for_news(tx: Transaction) -> list[Schedule]:
    """Active schedules whose trigger is an occasion."""
    found = select(schedules).where(schedules.c.occasion.is_not(None), schedules.c.state == "active")
    return [from_row(Schedule, row) for row in tx.execute(found.order_by(schedules.c.id))]


def take(tx: Transaction, schedule: Schedule, **values: Any) -> bool:
    """Writes `values` if nobody changed or fired the schedule since it was read: whether the caller may fire it now.

    Holds its row until the end of the transaction.
    """
    this = (schedules.c.id == schedule.id, schedules.c.revision == schedule.revision)
    return tx.execute(update(schedules).where(*this).values(revision=schedule.revision + 1, **values)).rowcount == 1


def note_job(tx: Transaction, schedule_id: str, job_id: str) -> None:
    """Remembers the newest job that it made. The caller has taken it."""
    tx.execute(update(schedules).where(schedules.c.id == schedule_id).values(last_job_id=job_id))


def _write(tx: Transaction, found: Schedule, values: Mapping[str, Any]) -> Schedule:
    new = update(schedules).where(schedules.c.id == found.id).values(revision=found.revision + 1, **values)
    tx.execute(new)
    return get(tx, found.id)


def _columns(tx: Transaction, spec: ScheduleSpec) -> dict[str, Any]:
    return {"name": spec.name, "spec": spec.model_dump(mode="json"), "updated_at": tx.now}


def _armed(tx: Transaction, spec: ScheduleSpec) -> dict[str, Any]:
    """Counting from now."""
    return {**_disarmed(tx, spec), "next_at": timing.next_due(spec.trigger, anchor=tx.now, after=tx.now)}


def _disarmed(tx: Transaction, spec: ScheduleSpec) -> dict[str, Any]:
    return {"occasion": spec.trigger.on, "seen": occasions.look(tx, spec), "anchor": tx.now, "next_at": None}


def _watched(spec: ScheduleSpec) -> tuple[Any, ...]:
    return spec.trigger, spec.job.model, spec.job.dataset, spec.job.recipe.target.device


def _one(tx: Transaction, ref: str, *, locked: bool) -> Schedule:
    by = schedules.c.id if ref.startswith("sch_") else schedules.c.name
    wanted = select(schedules).where(by == ref)
    row = tx.execute(wanted.with_for_update() if locked else wanted).first()
    if row is None:
        raise NotFound(f"There is no schedule {ref}.", cure="List the schedules to see those that exist.")
    return from_row(Schedule, row)


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a schedule {name!r} already.", cure="Change that one, or choose another name.")
