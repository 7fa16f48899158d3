"""Candidates and steps of a job as CSV (RFC 4180), for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from burnish.resources import JobResource, StepResource
from burnish.results import Candidate
from burnish.trackers.figures import candidate_figures, candidate_parameters, step_figures, verdict_of

__all__ = ["to_csv"]

Row = Mapping[str, object]


def to_csv(job: JobResource, path: str | Path) -> tuple[Path, Path]:
    """Writes the candidates of a job to `path`, one a line, and its steps beside it as `…-steps.csv`.

    A cell is empty where nothing was measured. Both files begin with the column `job`, so that those of several jobs
    can be put below each other.

    Returns:
        The two paths.

    Raises:
        burnish.errors.Conflict: the job has no verdict.
    """
    verdict = verdict_of(job)
    candidates = Path(path)
    steps = candidates.with_name(f"{candidates.stem}-steps{candidates.suffix or '.csv'}")
    candidates.parent.mkdir(parents=True, exist_ok=True)
    _write(candidates, [_candidate(job, each, each.name == verdict.chosen) for each in verdict.candidates])
    _write(steps, [_step(job, each) for each in job.steps])
    return candidates, steps


def _candidate(job: JobResource, candidate: Candidate, chosen: bool) -> Row:
    told = {"chosen": chosen, "refused": candidate.refused or ""}
    digest = candidate.artifact.digest if candidate.artifact else ""
    return {
        "job": job.id, **candidate_parameters(candidate), **told, "digest": digest, **candidate_figures(candidate),
    }  # fmt: skip


def _step(job: JobResource, step: StepResource) -> Row:
    told = {"step": step.name, "op": step.op, "state": step.state, "hit": step.hit, "why": step.why or ""}
    return {"job": job.id, **told, "attempt": step.attempt, **step_figures(step)}


def _write(path: Path, rows: Sequence[Row]) -> None:
    columns = list(dict.fromkeys(_names(rows)))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _names(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        yield from row
