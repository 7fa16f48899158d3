"""When each step of a job waited and ran, from its events: the rows of the timeline on its page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from api.formatting import seconds
from burnish.resources import JobResource, StepResource
from storage.events import Kind
from storage.records import Event

__all__ = ["MOVES", "WIDTH", "Bar", "Row", "Timeline", "timeline"]

MOVES: tuple[Kind, ...] = (
    "job.queued", "step.ready", "step.leased", "step.retry", "step.done", "step.failed", "step.canceled",
)  # fmt: skip
"""The kinds of events that a timeline is made from."""
WIDTH = 1000.0
"""Of the drawing, in its own units."""
_TICKS = 4
_THINNEST = 3.0
"""Narrower bars could not be seen."""

Doing = Literal["waited", "ran", "lost"]
_WORDS: dict[Doing, str] = {"waited": "waited", "ran": "ran", "lost": "ran in vain"}


@dataclass(frozen=True)
class Bar:
    """A stretch of time of one step, in units of the drawing. `lost`: an attempt that failed."""

    x: float
    width: float
    doing: Doing


@dataclass(frozen=True, kw_only=True)
class Row:
    """One step."""

    step: StepResource
    bars: tuple[Bar, ...]
    hit_at: float | None
    """Where its result was read from the cache."""
    words: str
    """The bars for who does not see them."""


@dataclass(frozen=True)
class Timeline:
    """The steps of a job over its time."""

    rows: tuple[Row, ...]
    ticks: tuple[str, ...]
    """Times at equal distances, the first and the last at the ends."""


@dataclass(frozen=True)
class _Stretch:
    start: float
    end: float
    doing: Doing


def timeline(job: JobResource, events: Sequence[Event], now: float) -> Timeline:
    """The timeline since the job was last queued.

    Args:
        events: the job's, of the kinds in `MOVES`, oldest first.
        now: where it ends if the job has not ended; seconds since 1970.
    """
    begun = max((index for index, event in enumerate(events) if event.kind == "job.queued"), default=0)
    present = events[begun:]
    start = present[0].at if present else job.created_at.timestamp()
    end = job.finished_at.timestamp() if job.finished_at else now
    span = max(end - start, 1e-3)

    def at(moment: float) -> float:
        return round(min(max((moment - start) / span, 0.0), 1.0) * WIDTH, 1)

    rows = []
    for step in job.steps:
        own = [event for event in present if event.step == step.name]
        stretches = list(_stretches(own, end))
        hit = next((event.at for event in own if event.kind == "step.done"), None) if step.hit else None
        bars = tuple(
            Bar(at(each.start), max(at(each.end) - at(each.start), _THINNEST), each.doing) for each in stretches
        )
        rows.append(Row(step=step, bars=bars, hit_at=at(hit) if hit is not None else None, words=_words(stretches)))
    ticks = tuple(seconds(span * tick / _TICKS) if tick else "0" for tick in range(_TICKS + 1))
    return Timeline(tuple(rows), ticks)


def _stretches(events: Iterable[Event], end: float) -> Iterable[_Stretch]:
    """What the step did from when to when. A hit has none: its result was there."""
    doing: Doing | None = None
    since = 0.0
    for event in events:
        if doing is not None:
            vain = doing == "ran" and event.kind in ("step.retry", "step.failed")
            yield _Stretch(since, event.at, "lost" if vain else doing)
        since = event.at
        match event.kind:
            case "step.ready" | "step.retry":
                doing = "waited"
            case "step.leased":
                doing = "ran"
            case _:
                doing = None
    if doing is not None:
        yield _Stretch(since, end, doing)


def _words(stretches: Sequence[_Stretch]) -> str:
    return ", ".join(f"{_WORDS[each.doing]} {seconds(max(each.end - each.start, 0.0))}" for each in stretches)
