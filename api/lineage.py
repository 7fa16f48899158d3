"""From an upload through the steps of a job to each of its artifacts, and figures of results over versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from api.understood import spec_of, verdict_of
from burnish.results import Candidate, Estimate, Verdict
from storage.records import Job, Step

__all__ = ["Result", "quality_plot", "result_of", "speed_plot", "steps_to"]

_ROLE = "program"
"""By which a step names what it goes on from."""


@dataclass(frozen=True)
class Made:
    """An artifact, and the way to it."""

    candidate: Candidate
    steps: tuple[str, ...]
    """Names of the steps from the upload on."""
    chosen: bool


@dataclass(frozen=True)
class Result:
    """A job that has succeeded, as its model's page shows it."""

    job: Job
    verdict: Verdict
    version: int
    target: str
    """`cpu, 1 thread, batch 1`: what may be compared."""
    made: tuple[Made, ...]

    @property
    def chosen(self) -> Candidate | None:
        """What was handed back."""
        return next((each.candidate for each in self.made if each.chosen), None)

    @property
    def original(self) -> Candidate | None:
        """The model as it was, run eagerly."""
        return next((each for each in self.verdict.candidates if each.name == "eager"), None)


def result_of(job: Job, steps: Sequence[Step]) -> Result | None:
    """What a job that has succeeded made, the artifact that was chosen first; `None` if another version of Burnish
    wrote the verdict so that this one can't read it."""
    verdict, _ = verdict_of(job)
    if verdict is None:
        return None
    target = spec_of(job)[0].recipe.target
    made = [
        Made(each, steps_to(steps, each.artifact.digest), each.name == verdict.chosen)
        for each in verdict.candidates
        if each.artifact is not None and not each.refused
    ]
    return Result(
        job=job,
        verdict=verdict,
        version=int(job.model.rpartition(":")[2]),
        target=f"{target.device}, {target.threads} thread{'s' if target.threads > 1 else ''}, batch {target.batch}",
        made=tuple(sorted(made, key=lambda each: not each.chosen)),
    )


def steps_to(steps: Sequence[Step], digest: str) -> tuple[str, ...]:
    """Names of the steps from the first to the one whose output is the artifact; none if it is not there."""
    by_name = {step.name: step for step in steps}
    at = next((step for step in steps if step.op == "lower" and digest in (step.outputs or {}).values()), None)
    found: list[str] = []
    while at is not None and at.name not in found:
        found.append(at.name)
        source = str(at.spec.get("inputs", {}).get(_ROLE, ""))
        at = by_name.get(source.rpartition(".")[0])
    return tuple(reversed(found))


def speed_plot(results: Sequence[Result], production: int | None) -> dict[str, Any] | None:
    """Time of a call by version, of the original and of what was handed back; the newest result of each version and
    target counts."""
    points = []
    for result in _newest(results):
        for series, each in (("original", result.original), ("handed back", result.chosen)):
            if each and each.latency:
                points.append(_point(result, series, each, each.latency.median))
    axis = {"label": "time of a call", "unit": "seconds"}
    return _plot(points, axis, production)


def quality_plot(results: Sequence[Result], production: int | None) -> dict[str, Any] | None:
    """Quality on held-out data by version, of the original and of what was handed back."""
    points, metric = [], "quality"
    for result in _newest(results):
        quality = result.chosen.quality if result.chosen else None
        if result.chosen is None or quality is None:
            continue
        metric = {"top1": "accuracy", "agreement": "agreement", "cosine": "cosine"}[quality.metric]
        change = quality.drop
        value = Estimate(value=quality.value, low=quality.original - change.high, high=quality.original - change.low)
        flat = Estimate(value=quality.original, low=quality.original, high=quality.original)
        points.append(_point(result, "original", result.chosen, flat))
        points.append(_point(result, "handed back", result.chosen, value))
    return _plot(points, {"label": metric, "unit": "share"}, production)


def _newest(results: Sequence[Result]) -> list[Result]:
    """Of those given newest first; the target that most versions have been run for, since others can't be compared."""
    if not results:
        return []
    targets = [result.target for result in results]
    common = max(dict.fromkeys(targets), key=targets.count)
    first: dict[int, Result] = {}
    for result in results:
        if result.target == common:
            first.setdefault(result.version, result)
    return [first[version] for version in sorted(first)]


def _point(result: Result, series: str, candidate: Candidate, value: Estimate) -> dict[str, Any]:
    return {
        "x": result.version,
        "y": value.value,
        "low": value.low,
        "high": value.high,
        "series": series,
        "name": f"{result.job.model}, {series}",
        "href": f"/jobs/{result.job.id}",
        "rows": [["candidate", candidate.name], ["target", result.target]],
    }


def _plot(points: list[dict[str, Any]], axis: dict[str, str], production: int | None) -> dict[str, Any] | None:
    if not points:
        return None
    return {"points": points, "x": {"label": "version", "unit": "version"}, "y": axis, "mark": production}
