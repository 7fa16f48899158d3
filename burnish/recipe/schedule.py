"""A schedule as it is sent: a job, what starts it again and again, and what is done with its result."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from burnish.document import Document
from burnish.recipe.job import JobSpec
from burnish.recipe.quantities import Seconds

__all__ = ["AliasName", "Occasion", "Overlap", "PlainName", "ScheduleSpec", "Trigger"]

Occasion = Literal["model", "dataset", "worker_class", "toolchain"]
"""What a schedule can wait for: a new version of its model, a new upload of its dataset, a worker with a device and
ISA not seen before, or one with another version of torch or of a backend's library."""
Overlap = Literal["skip", "queue", "cancel_previous"]
"""What happens when the job before has not ended: the firing is skipped; it waits (one at most); or that job is
canceled."""
SHORTEST = 60.0
"""Seconds between two firings by interval, at least."""


def _plain(name: str) -> str:
    if name != name.strip() or not name.isprintable() or {"/", "\\"} & set(name):
        raise ValueError("A name is printable, has neither / nor \\, and no space at either end")
    return name


PlainName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_plain)]
AliasName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
"""`production`, `canary`, …: lower case, to be used in an address."""


class Trigger(Document):
    """When a schedule fires: exactly one of `cron`, `every` and `on`."""

    cron: str | None = Field(None, min_length=1, max_length=200)
    """Five fields: minute, hour, day of the month, month, day of the week (`0 3 * * *`: at three every night)."""
    timezone: str = Field("UTC", min_length=1, max_length=64)
    """IANA name of the zone that `cron` is read in. A time that summer time skips fires right after the gap; one that
    comes twice fires once."""
    every: Annotated[Seconds, Field(ge=SHORTEST, le=366 * 86400, examples=["6h"])] | None = None
    """Seconds between two firings, counted from when the trigger was set; text like `6h` will do."""
    on: Occasion | None = None
    """`model`, `dataset`, `worker_class` or `toolchain`."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("cron", "every", "on") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"Give exactly one of cron, every and on, not {' and '.join(given) or 'none of them'}")
        return self


class ScheduleSpec(Document):
    """A job that is submitted again and again."""

    name: PlainName
    """Unique among the schedules."""
    kind: Literal["optimize", "remeasure"] = "optimize"
    """`optimize`: submits the job. `remeasure`: only measures the artifact under the alias `watch` on the newest data,
    and raises the event `champion.drifted` if a limit of the job's goal no longer holds."""
    trigger: Trigger
    job: JobSpec
    """A model or dataset given by name stands for the newest of that name at each firing. With `kind: remeasure` the
    original is the version that the champion was made from; target, goal and seed are read from the recipe."""
    overlap: Overlap = "skip"
    promote: AliasName | None = None
    """Alias of the model's name (`production`): the artifact under it is measured beside the job's candidates, and
    replaced by the result if that is proven better."""
    watch: AliasName | None = None
    """With `kind: remeasure`: the alias whose artifact is measured; `production` where nothing is said."""

    @field_validator("promote", "watch")
    @classmethod
    def _fits_its_kind(cls, value: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if value is not None and info.field_name == "promote" and kind == "remeasure":
            raise ValueError("A schedule of kind remeasure makes nothing to promote: name the alias as `watch`")
        if value is not None and info.field_name == "watch" and kind == "optimize":
            raise ValueError("Only a schedule of kind remeasure watches an alias: name it as `promote`")
        return value

    @property
    def alias(self) -> str | None:
        """The alias whose artifact takes part in each run."""
        return (self.watch or "production") if self.kind == "remeasure" else self.promote
