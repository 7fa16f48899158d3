"""About how long a job that runs still takes, from what it has told so far; and what can't be told yet.

Rules, for each step that has not ended:

1. A pass or a measurement that runs and has told how far it is: its own time so far, scaled to the whole. They count
   their work; what other steps tell marks the part they are in, however long that takes.
2. A pass of the recipe: what the pre-flight measured on a few samples, scaled to all of them.
3. Any other: the mean time of the steps of its kind that this job has had.
4. Of 2 and 3, what a running step has had already is taken off. One that takes longer than that is not known.
5. What none of these tells is not known, and named. Where that is more than half of the steps, no time is said at all.

Steps are added up as if each ran alone: how many run side by side is the fleet's affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from burnish.resources import JobResource, StepResource

__all__ = ["TimeLeft", "duration", "time_left"]

_TELLING = 0.05
"""Progress from which it says something of the whole."""
_COUNTING = ("pass:", "measure")
_ENDED = frozenset({"done", "failed", "canceled"})


@dataclass(frozen=True)
class TimeLeft:
    """An estimate."""

    seconds: float
    """Of the steps that can be estimated."""
    unknown: tuple[str, ...]
    """Kinds of steps that can't: `lower`, `measure`, …"""
    telling: bool = True
    """False if more steps can't be estimated than can (rule 5)."""

    def lines(self) -> list[str]:
        """`about 2 min left` and `not counted: lower, measure (not known yet)`; none if nothing is left."""
        if not self.seconds and not self.unknown:
            return []
        if not self.seconds or not self.telling:
            return ["time left: not known yet"]
        others = [f"not counted: {', '.join(self.unknown)} (not known yet)"] if self.unknown else []
        return [f"about {duration(self.seconds)} left", *others]


def time_left(job: JobResource, now: datetime) -> TimeLeft:
    """The estimate at a moment, by the rules above."""
    promised, usual = _promised(job), _usual(job.steps)
    seconds, known, unknown = 0.0, 0, []
    for step in job.steps:
        if step.state in _ENDED:
            continue
        left = _left(step, promised.get(step.name, usual.get(_kind(step))), now)
        if left is None:
            unknown.append(step.op.removeprefix("pass:"))
        else:
            seconds, known = seconds + left, known + 1
    return TimeLeft(seconds, tuple(dict.fromkeys(unknown)), telling=len(unknown) <= known)


def duration(seconds: float) -> str:
    """`7 s`, `3 min`, `1 h 20 min`: no finer than an estimate is worth."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _left(step: StepResource, whole: float | None, now: datetime) -> float | None:
    had = max((now - step.started_at).total_seconds(), 0.0) if step.state == "leased" and step.started_at else 0.0
    if had and step.progress >= _TELLING and step.op.startswith(_COUNTING):  # rule 1
        return had * (1.0 - step.progress) / step.progress
    return None if whole is None or had > whole else whole - had


def _promised(job: JobResource) -> Mapping[str, float]:
    """Rule 2: by the name of the step. The recipe's passes come in its order, and their steps have no variant before
    their names."""
    preflight = next((step for step in job.steps if step.op == "preflight"), None)
    told = preflight.report.get("passes", []) if preflight else []
    passes = [step for step in job.steps if step.op.startswith("pass:") and "/" not in step.name]
    return {step.name: float(each["estimate"]) for step, each in zip(passes, told, strict=False)}


def _usual(steps: Iterable[StepResource]) -> Mapping[str, float]:
    """Rule 3: by kind of step. One from the cache counts too: its time is that of when it was computed."""
    found: dict[str, list[float]] = {}
    for step in steps:
        if step.state == "done" and step.seconds is not None:
            found.setdefault(_kind(step), []).append(step.seconds)
    return {kind: fmean(each) for kind, each in found.items()}


def _kind(step: StepResource) -> str:
    """What steps that take about as long have in common: what they do, and by which backend."""
    return f"{step.op}@{step.name.partition('@')[2]}"
