"""From the ended steps of a job to its verdict: gathers what each contender's steps reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from burnish.recipe import JobSpec
from burnish.results import Artifact, Candidate, Environment, Verdict
from storage.records import Step
from workers.binding import refusal
from workers.contest import CHAMPION
from workers.verdict import ORIGINAL, decide

__all__ = ["candidates", "verdict_of"]


def verdict_of(spec: JobSpec, every: Mapping[str, Step], original_size: int) -> Verdict:
    """The verdict of a job whose steps have all ended, none fatally; the original's file has so many bytes."""
    environment = next(
        report["environment"] for measure in reversed(_measurements(every)) if (report := measure.report)
    )
    where, found = Environment.model_validate(environment), list(candidates(every))
    own = [each for each in found if each.variant != CHAMPION]
    if all(each.variant == ORIGINAL for each in own):  # measured again, the champion is what the verdict is about
        return decide(spec, found, where, original_size)
    return decide(spec, own, where, original_size).model_copy(update={"candidates": tuple(found)})


def candidates(every: Mapping[str, Step]) -> Iterator[Candidate]:
    """The original, eager and compiled, and every contender that was planned, those that dropped out included.

    Of one that was measured more than once, by the rounds of a search, the last figures count.
    """
    judged: dict[str, tuple[str, str]] = {}
    figures: dict[str, Mapping[str, Any]] = {}
    for measure in _measurements(every):
        for role, judge in measure.spec["unless"].items():
            judged[role.removeprefix("artifact.")] = (measure.spec["inputs"][role].partition(".")[0], judge)
        for name, found in (measure.report or {}).get("contenders", {}).items():
            if "refused" not in found or name not in figures:
                figures[name] = found
    original = every["capture"].report or {}
    for baseline in ("eager", "compiled"):
        if baseline in figures:
            yield Candidate.model_validate(
                {"name": baseline, "variant": "original", "backend": baseline, **_size(original), **figures[baseline]}
            )
    for name, (lowered, verified) in judged.items():
        if lowered.startswith("sha256:"):
            yield from _champion(name, every[verified], figures.get(name, {}))
            continue
        lower, verify = every[lowered], every[verified]
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


def _measurements(every: Mapping[str, Step]) -> list[Step]:
    """In the order they were planned."""
    return [step for step in every.values() if step.op == "measure"]


def _champion(name: str, verify: Step, figures: Mapping[str, Any]) -> Iterator[Candidate]:
    """The contender that an earlier job made; none if the step that was to verify it did not get to it."""
    if verify.state != "done":
        return
    artifact = Artifact.model_validate(verify.spec["champion"])
    known = {"name": name, "variant": CHAMPION, "backend": artifact.backend, "artifact": artifact}
    refused = refusal(verify) or figures.get("refused")
    yield Candidate.model_validate({**known, **_verified(verify), **figures, "refused": refused})


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
