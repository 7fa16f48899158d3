"""How figures read on the pages: the filters of the templates."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from apiflask import APIFlask
from markupsafe import Markup, escape

from burnish.recipe import Goal
from burnish.recipe.quantities import format_bytes, format_fraction, format_seconds
from burnish.resources import EventResource, JobSummary
from burnish.results import Estimate, Limit, TensorSpec

__all__ = ["install"]

NONE = "–"


def times(value: float | None) -> str:
    """`2.5` → `2.50×`."""
    return NONE if value is None else f"{value:.2f}×"


def points(value: float | None) -> str:
    """`0.0051` → `0.51 %`, with a true minus sign."""
    return NONE if value is None else format_fraction(value).replace("-", "−")


def seconds(value: float | None) -> str:
    """`0.00123` → `1.23 ms`; from a minute on `2 min 5 s`."""
    if value is None:
        return NONE
    if value >= 60:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
    return format_seconds(value) if value > 0 else "0 s"


def size(value: int | None) -> str:
    """`1234567` → `1.23 MB`."""
    return NONE if value is None else format_bytes(value)


def share(value: float) -> str:
    """`0.42` → `42 %`."""
    return f"{value:.0%}".replace("%", " %")


_FORMS = {"seconds": seconds, "times": times, "points": points}


def interval(value: Estimate | None, form: str) -> str | Markup:
    """The value, and its interval under it: without the unit where that is the value's own."""
    if value is None:
        return NONE
    write = _FORMS[form]
    shown, low, high = write(value.value), write(value.low), write(value.high)
    unit = shown.lstrip("−0123456789.e+-")
    if low.endswith(unit) and high.endswith(unit):
        low, high = low.removesuffix(unit), high.removesuffix(unit)
    return Markup("{} <small>[{}, {}]</small>").format(shown, low, high)


def clock(moment: datetime) -> str:
    """A time in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def took(job: JobSummary) -> str:
    """How long a job has been going, or took from submission to its end."""
    end = job.finished_at or datetime.now(UTC)
    return seconds(max((end - job.created_at).total_seconds(), 0.0))


def short_clock(moment: datetime) -> str:
    """The same without what a list does not need: `24 Nov 14:33`, with the year if it is another."""
    shown = moment.astimezone(UTC)
    return shown.strftime("%-d %b %H:%M" if shown.year == datetime.now(UTC).year else "%-d %b %Y %H:%M")


def words(name: str) -> str:
    """`target_missed` → `target missed`."""
    return name.replace("_", " ")


def step_words(state: str) -> str:
    """The state of a step for people: `leased` is a word of the engine."""
    return {"leased": "running"}.get(state, state)


def limit_words(limit: Limit) -> str:
    """A limit and how it was met."""
    if limit.name == "max_drop":
        return f"Drop {points(limit.value)}, limit {points(limit.limit)}"
    if limit.name == "max_size":
        return f"Size {size(round(limit.value))}, limit {size(round(limit.limit))}"
    if limit.name == "max_latency":
        return f"A call takes {seconds(limit.value)}, limit {seconds(limit.limit)}"
    return f"Lower end of the speed-up {times(limit.value)}, has to be above {times(limit.limit)}"


def goal_words(goal: Goal) -> str:
    """A goal in one line."""
    parts = [f"least {goal.minimize}"]
    if goal.max_drop is not None:
        parts.append(f"drop ≤ {points(goal.max_drop)}")
    if goal.max_size is not None:
        parts.append(f"size ≤ {size(goal.max_size)}")
    if goal.max_latency is not None:
        parts.append(f"time ≤ {seconds(goal.max_latency)}")
    return ", ".join(parts)


_EVENTS = {
    "job.queued": "queued",
    "job.planned": "planned: {count} steps",
    "job.priority": "priority {priority}",
    "job.succeeded": "has its verdict: {outcome}",
    "job.failed": "failed: {message}",
    "job.canceling": "is being canceled",
    "job.canceled": "canceled",
    "step.ready": "ready, waits for a worker",
    "step.leased": "runs",
    "step.done": "done",
    "step.failed": "failed: {message}",
    "step.retry": "will be tried again: {message}",
    "step.canceled": "left out",
    "log": "{line}",
}


def event_words(event: EventResource) -> str:
    """An event as a line of the log."""
    data = event.data
    said = {name: str(data.get(name, "")) for name in ("priority", "message", "line")}
    said["outcome"] = words(str(data.get("outcome") or ""))
    said["count"] = str(len(data.get("steps") or ()))
    return _EVENTS.get(event.kind, event.kind).format_map(said).rstrip(": ")


def breakable(name: str) -> Markup:
    """A long name that may go on in the next line behind its signs."""
    return Markup(re.sub(r"([+@/])", r"\1<wbr>", str(escape(name))))


def tensors(specs: Sequence[TensorSpec]) -> str:
    """Inputs or outputs in their order, `x float32[·, 3]`: a dot is a side that may be of any length."""
    shapes = (", ".join("·" if side is None else str(side) for side in spec.shape) for spec in specs)
    return ", ".join(f"{spec.name} {spec.dtype}[{shape}]" for spec, shape in zip(specs, shapes, strict=True))


def prose(text: str | None) -> Markup:
    """Text whose `names` in backticks become code; everything in it is escaped."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate((text or "").split("`"))
    )


def pretty(value: Mapping[str, Any]) -> str:
    """Plain data as indented text; a text in it keeps its lines."""
    return "\n".join(
        f"{name}: {part if isinstance(part, str) else json.dumps(part, ensure_ascii=False, indent=2)}"
        for name, part in value.items()
    )


def type_of(schema: Mapping[str, Any]) -> str:
    """A JSON schema in one word or few."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[-1]
    for joint in ("anyOf", "oneOf"):
        if joint in schema:
            return " or ".join(type_of(part) for part in schema[joint])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if "format" in schema or "contentMediaType" in schema:
        return str(schema.get("format") or "bytes")
    return str(schema.get("type", "any"))


FILTERS = (
    times,
    points,
    seconds,
    size,
    share,
    interval,
    clock,
    took,
    words,
    step_words,
    limit_words,
    goal_words,
    breakable,
    tensors,
    event_words,
    short_clock,
    pretty,
    prose,
    type_of,
)


def install(app: APIFlask) -> None:
    """Gives the templates their filters, each by its name."""
    for filter_ in FILTERS:
        app.template_filter(filter_.__name__)(filter_)
