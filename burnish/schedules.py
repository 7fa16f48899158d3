"""The documents of schedules, as the API gives and takes them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from burnish.document import Document
from burnish.faults import FaultResource
from burnish.recipe import AliasName, JobSpec, Trigger
from burnish.recipe.schedule import Overlap, PlainName
from burnish.results import Estimate

__all__ = ["DecisionResource", "FiringResource", "ScheduleChange", "ScheduleResource"]


class DecisionResource(Document):
    """What became of a run that a champion took part in."""

    outcome: Literal["promoted", "kept", "holds", "drifted"]
    """`promoted`: the result is the champion now. `kept`: the old one stays. Of a remeasurement: `holds` if every limit
    still does, else `drifted`."""
    reason: str
    """In words, with the figures that decided."""
    champion: str | None
    """Digest of the artifact that was the champion when the job was made."""
    challenger: str | None
    """Digest of the artifact that the job chose, if it chose one."""
    speedup: Estimate | None
    """Ratio of the medians champion over challenger in the same run; above 1 the challenger is faster."""


class FiringResource(Document):
    """One time a schedule was due, and what came of it."""

    id: str
    at: datetime
    due_at: datetime | None
    """When it was due, where that is a time."""
    cause: str
    """`cron`, `every`, `model`, `dataset`, `worker_class`, `toolchain` or `manual`; what another version of Burnish
    names so, or `unknown` where this one can't read the trigger that was due."""
    outcome: Literal["fired", "waiting", "skipped"]
    """`waiting`: for the end of the job before."""
    reason: str
    """Why it fired or was skipped, in words."""
    job: str | None
    """The job it made."""
    decision: DecisionResource | None = None
    """Set at the end of that job, if a champion was to be replaced or watched."""
    not_understood: tuple[FaultResource, ...] = ()
    """Parts of `decision` that another version of Burnish wrote and this one can't read. Empty as a rule."""
    links: dict[str, str]


class ScheduleResource(Document):
    """A job that is submitted again and again.

    Of `kind`, `trigger`, `job` and `overlap`, `null` stands for what `not_understood` tells of.
    """

    id: str
    name: str
    kind: Literal["optimize", "remeasure"] | None = None
    trigger: Trigger | None = None
    job: JobSpec | None = None
    overlap: Overlap | None = None
    promote: AliasName | None = None
    watch: AliasName | None = None
    state: Literal["active", "paused"]
    next_at: datetime | None
    """When it fires next, if it is active and its trigger is a time."""
    last: FiringResource | None
    """The newest entry of its history."""
    created_at: datetime
    updated_at: datetime
    links: dict[str, str]
    not_understood: tuple[FaultResource, ...] = ()
    """Parts that another version of Burnish wrote and this one can't read: they are left out, and while there is one
    the schedule does not fire. Empty as a rule."""


class ScheduleChange(Document):
    """What can be changed of a schedule; what is left out stays."""

    name: PlainName | None = None
    trigger: Trigger | None = None
    job: JobSpec | None = None
    overlap: Overlap | None = None
    promote: AliasName | None = None
    """`null` takes it off."""
    watch: AliasName | None = None
