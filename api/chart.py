"""Latency against quality as a small chart: positions only, the drawing is `templates/chart.svg`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from burnish.recipe.quantities import format_seconds
from burnish.results import Candidate, Verdict

__all__ = ["Chart", "Mark", "Tick", "chart_of"]

WIDTH, HEIGHT = 640.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 64.0, 20.0, 18.0, 46.0
_LABEL = 16.0


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One candidate: its place, its intervals and where its number stands. Pixels."""

    number: int
    name: str
    x: float
    y: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    label_x: float
    label_y: float
    kind: str
    """`chosen`, `original` or `other`."""


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Everything that the drawing needs."""

    marks: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    floor_y: float | None
    """Where the limit on the drop lies, if it is in sight."""
    ceiling_x: float | None
    """Where the limit on the latency lies, if it is in sight."""
    metric: str
    description: str
    """The same in words, for who does not see it."""


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return round(self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def steps(self) -> list[float]:
        """Round values, four to eight of them."""
        rough = (self.high - self.low) / 5
        power = 10 ** floor(log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = -(-self.low // step)
        return [step * (first + index) for index in range(12) if step * (first + index) <= self.high + step * 1e-9]


@dataclass(frozen=True)
class _Point:
    number: int
    candidate: Candidate
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def chart_of(verdict: Verdict) -> Chart | None:
    """The chart of all candidates that were measured; `None` with fewer than two."""
    original = next((c.quality.original for c in verdict.candidates if c.quality), None)
    points = [p for n, c in enumerate(verdict.candidates, 1) if original is not None and (p := _point(n, c, original))]
    if len(points) < 2 or original is None:
        return None
    x = _Axis(0.0, max(point.x[2] for point in points) * 1.08, LEFT, WIDTH - RIGHT)
    bottom, top = min(point.y[1] for point in points), max(point.y[2] for point in points)
    room = max((top - bottom) * 0.15, 0.002)
    y = _Axis(bottom - room, top + room, HEIGHT - BOTTOM, TOP)
    limits = {limit.name: limit.limit for limit in verdict.limits}
    lowest = original - limits["max_drop"] if "max_drop" in limits else None
    longest = limits.get("max_latency")
    metric = next(c.quality.metric for c in verdict.candidates if c.quality)
    return Chart(
        marks=_marks(points, x, y, verdict),
        x_ticks=tuple(Tick(x.at(value), format_seconds(value) if value else "0") for value in x.steps()),
        y_ticks=tuple(Tick(y.at(value), f"{100 * value:.4g} %") for value in y.steps()),
        floor_y=y.at(lowest) if lowest is not None and y.holds(lowest) else None,
        ceiling_x=x.at(longest) if longest is not None and x.holds(longest) else None,
        metric={"top1": "accuracy", "agreement": "agreement", "cosine": "cosine"}[metric],
        description=" ".join(
            f"{p.number}: {p.candidate.name}, {format_seconds(p.x[0])}, {100 * p.y[0]:.2f} %." for p in points
        ),
    )


def _point(number: int, candidate: Candidate, original: float) -> _Point | None:
    """Place and intervals; the original's quality is exact, since all are compared with it."""
    if candidate.latency is None or candidate.refused:
        return None
    time = candidate.latency.median
    quality = candidate.quality
    if quality is None:
        y = (original, original, original)
    else:
        y = (quality.value, original - quality.drop.high, original - quality.drop.low)
    return _Point(number, candidate, (time.value, time.low, time.high), y)


def _marks(points: Sequence[_Point], x: _Axis, y: _Axis, verdict: Verdict) -> tuple[Mark, ...]:
    taken = [(x.at(point.x[0]), y.at(point.y[0])) for point in points]
    marks = []
    for point in points:
        at = (x.at(point.x[0]), y.at(point.y[0]))
        label = _free_place(at, taken)
        taken.append(label)
        marks.append(
            Mark(
                number=point.number,
                name=point.candidate.name,
                x=at[0],
                y=at[1],
                x_low=x.at(point.x[1]),
                x_high=x.at(point.x[2]),
                y_low=y.at(point.y[1]),
                y_high=y.at(point.y[2]),
                label_x=label[0],
                label_y=label[1],
                kind=_kind(point.candidate, verdict),
            )
        )
    return tuple(marks)


def _kind(candidate: Candidate, verdict: Verdict) -> str:
    if candidate.name == verdict.chosen:
        return "chosen"
    return "original" if candidate.name in ("eager", "compiled") else "other"


def _free_place(at: tuple[float, float], taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Where the number of a mark hides nothing: the first of eight places around it that is free."""
    around = [(1, -1), (-1, -1), (1, 1), (-1, 1), (0, -1.3), (0, 1.3), (1.5, 0), (-1.5, 0)]
    places = [(at[0] + _LABEL * dx, at[1] + _LABEL * dy) for dx, dy in around]
    inside = [p for p in places if LEFT < p[0] < WIDTH - 8 and TOP - 8 < p[1] < HEIGHT - BOTTOM]
    free = (p for p in inside if all(abs(p[0] - tx) > 12 or abs(p[1] - ty) > 12 for tx, ty in taken if (tx, ty) != at))
    return next(free, places[0])
