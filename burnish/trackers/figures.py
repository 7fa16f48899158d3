"""What there is to say about a job: parameters, figures and texts, under the names that every tracker shows.

Rules:

1. Names are words joined by `_`, with the unit last (`latency_median_seconds`, `size_bytes`); the ends of a 95 %
   interval are the name with `_low` and `_high`.
2. A figure that was not measured is left out, never zero.
3. What is no finite number is left out: no tracker draws it, and some refuse the whole batch for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from burnish.errors import Conflict
from burnish.resources import JobResource, StepResource
from burnish.results import Candidate, Estimate, Verdict

__all__ = [
    "candidate_figures",
    "candidate_parameters",
    "job_figures",
    "job_parameters",
    "step_figures",
    "texts",
    "verdict_of",
]

Scalar = str | float | int | bool


def verdict_of(job: JobResource) -> Verdict:
    """The verdict of a job that has one.

    Raises:
        Conflict: it has none, so that there are no results.
    """
    if job.verdict is None:
        going = job.state in ("queued", "running", "canceling")
        raise Conflict(
            f"Job {job.id} is {job.state} and has no verdict.",
            cure=f"Wait for it with `burnish watch {job.id}`." if going else "Export a job that has succeeded.",
        )
    return job.verdict


def job_parameters(job: JobResource) -> dict[str, Scalar]:
    """What was asked for: model, dataset, goal, target and passes, each under its path in the recipe (`goal.max_drop`).

    What was left out of the recipe is left out here.
    """
    recipe = job.spec.recipe.model_dump(mode="json")
    found = {"job": job.id, "model": job.model, "dataset": job.dataset}
    return {**found, **dict(_leaves(recipe, ""))}


def candidate_parameters(candidate: Candidate) -> dict[str, Scalar]:
    """What sets a candidate apart from the others of its job."""
    return {"candidate": candidate.name, "variant": candidate.variant, "backend": candidate.backend}


def candidate_figures(candidate: Candidate) -> dict[str, float]:
    """Every figure that was measured of a candidate."""
    found: dict[str, float | None] = {}
    if latency := candidate.latency:
        found |= _interval("latency_median_seconds", latency.median)
        found["latency_p95_seconds"] = latency.p95
        found |= {
            f"latency_q{round(100 * float(share)):02}_seconds": value for share, value in latency.quantiles.items()
        }
    for other in ("eager", "compiled", "champion"):
        if estimate := getattr(candidate, f"speedup_over_{other}"):
            found |= _interval(f"speedup_over_{other}", estimate)
    if quality := candidate.quality:
        found |= {f"quality_{quality.metric}": quality.value, "quality_sqnr_db": quality.sqnr_db}
        found |= _interval("quality_drop", quality.drop)
    found["size_bytes"] = candidate.artifact.size if candidate.artifact else None
    for name, value in (("load_seconds", candidate.load_seconds), ("peak_memory_bytes", candidate.peak_memory)):
        found[name] = value
    found |= {"parameters": candidate.parameters, "flops": candidate.flops, **candidate.figures}
    return _finite(found)


def job_figures(job: JobResource) -> dict[str, float]:
    """Figures of the job as a whole: what it hands back (as in a list of jobs), and how long it took."""
    took = (job.finished_at - job.started_at).total_seconds() if job.finished_at and job.started_at else None
    hits = sum(step.hit for step in job.steps)
    return _finite({
        "speedup_over_eager": job.speedup, "quality_drop": job.drop, "job_seconds": took,
        "steps": len(job.steps), "steps_from_cache": hits,
    })  # fmt: skip


def step_figures(step: StepResource) -> dict[str, float]:
    """Figures of a step: its time and memory, and what its pass told of itself (`loss_after`, `layers_int8`, …)."""
    own = step.report.get("figures")
    told = {name: value for name in ("parameters", "flops", "size") if _is_number(value := step.report.get(name))}
    own = {name: value for name, value in own.items() if _is_number(value)} if isinstance(own, Mapping) else {}
    return _finite({"seconds": step.seconds, "peak_memory_bytes": step.peak_memory, **told, **own})


def texts(job: JobResource) -> dict[str, str]:
    """The verdict's sentence, the limits, where it was measured, and how to run each artifact. Markdown."""
    verdict = verdict_of(job)
    where = verdict.environment
    found = {"verdict": f"**{verdict.outcome.replace('_', ' ')}**: {verdict.sentence}"}
    if verdict.limits:
        found["limits"] = "\n".join(
            f"- {limit.name}: {limit.value:.6g} (limit {limit.limit:.6g}), {'met' if limit.met else 'not met'}"
            f"{f'. {limit.advice}' if limit.advice else ''}"
            for limit in verdict.limits
        )
    versions = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    found["environment"] = (
        f"{where.cpu}, threads {where.threads}, batch {where.batch}, load {where.load:.1f}; {versions}"
    )
    if job.artifacts:
        first = job.artifacts[0]
        found["usage"] = f"{first.name} (sha256 {first.digest}):\n\n```python\n{first.usage}\n```"
    return found


def _interval(name: str, estimate: Estimate) -> dict[str, float | None]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _finite(figures: Mapping[str, float | None]) -> dict[str, float]:
    """Rules 2 and 3."""
    return {name: float(value) for name, value in figures.items() if value is not None and math.isfinite(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Scalar]]:
    """Each plain value of a document with its path; a list's members are numbered from 0."""
    if isinstance(value, Mapping):
        members: Iterator[tuple[Any, Any]] = iter(value.items())
    elif isinstance(value, list | tuple):
        members = iter(enumerate(value))
    else:
        if value is not None:
            yield path, value
        return
    for key, member in members:
        yield from _leaves(member, f"{path}.{key}" if path else str(key))
