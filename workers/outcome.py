"""From the ended steps of a job to its verdict: gathers what each contender's steps reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from burnish.recipe import JobSpec
from burnish.results import Artifact, Candidate, Environment, Verdict
from storage.records import Step
from workers.binding import refusal
from workers.verdict import decide

__all__ = ["candidates", "verdict_of"]


def verdict_of(spec: JobSpec, every: Mapping[str, Step], original_size: int) -> Verdict:
    """The verdict of a job whose steps have all ended, none fatally; the original's file has so many bytes."""
    measured = every["measure"].report or {}
    return decide(spec, list(candidates(every)), Environment.model_validate(measured["environment"]), original_size)


def candidates(every: Mapping[str, Step]) -> Iterator[Candidate]:
    """The original, eager and compiled, and every contender that was planned, those that dropped out included."""
    measure = every["measure"]
    figures: Mapping[str, Mapping[str, Any]] = (measure.report or {}).get("contenders", {})
    original = every["capture"].report or {}
    for baseline in ("eager", "compiled"):
        if baseline in figures:
            yield Candidate.model_validate(
                {"name": baseline, "variant": "original", "backend": baseline, **_size(original), **figures[baseline]}
            )
    for role, judge in measure.spec["unless"].items():
        name = role.removeprefix("artifact.")
        lower, verify = every[measure.spec["inputs"][role].partition(".")[0]], every[judge]
        yield Candidate.model_validate(
            {
                "name": name,
                "variant": name.rpartition("@")[0],
                "backend": lower.spec["settings"]["backend"],
                **_size(every[lower.spec["inputs"]["program"].partition(".")[0]].report or {}),
                **_verified(verify),
                **figures.get(name, {}),
                "artifact": _artifact(lower),
                "refused": refusal(lower) or refusal(verify) or figures.get(name, {}).get("refused"),
            }
        )


def _size(report: Mapping[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("parameters", "flops") if key in report}


def _verified(verify: Step) -> dict[str, Any]:
    report = verify.report or {}
    return {key: report[key] for key in ("quality", "load_seconds") if report.get(key) is not None}


def _artifact(lower: Step) -> Artifact | None:
    report, digest = lower.report or {}, (lower.outputs or {}).get("artifact")
    if digest is None:
        return None
    backend = lower.spec["settings"]["backend"]
    return Artifact(name=report["filename"], digest=digest, size=report["size"], backend=backend, usage=report["usage"])
