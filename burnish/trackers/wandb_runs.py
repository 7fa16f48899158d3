"""A job as runs of Weights & Biases, written to files: one for the job, and one for each candidate in its group."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from burnish.errors import Unavailable
from burnish.resources import JobResource
from burnish.trackers.extras import load
from burnish.trackers.figures import (
    candidate_figures,
    candidate_parameters,
    job_figures,
    job_parameters,
    step_figures,
    texts,
    verdict_of,
)

__all__ = ["to_wandb"]


def to_wandb(job: JobResource, folder: str | Path, project: str = "burnish") -> Path:
    """Writes a job as offline runs; nothing leaves this machine until you send them with `wandb sync`.

    Ids of runs follow from the job and the candidate, so that a job exported and sent twice is there once.

    Returns:
        The folder to sync, `folder/wandb`.

    Raises:
        burnish.errors.Conflict: the job has no verdict.
        burnish.errors.Unavailable: Weights & Biases is not installed, or can't write there.
    """
    verdict = verdict_of(job)
    kit = load("wandb", "wandb")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shared = {"project": project, "group": job.id, "dir": str(folder)}
    steps = {f"{step.name}/{name}": value for step in job.steps for name, value in step_figures(step).items()}
    try:
        _run(kit, shared, job, "", {}, {**job_figures(job), **steps}, texts(job))
        for candidate in verdict.candidates:
            told = {"refused": candidate.refused or "", "notes": "\n".join(candidate.notes)}
            own = candidate_parameters(candidate), candidate_figures(candidate)
            _run(kit, shared, job, candidate.name, *own, {name: text for name, text in told.items() if text})
    except kit.Error as error:
        raise Unavailable(
            f"Weights & Biases does not take the job: {error}", cure="Look at debug.log in the folder, and its version."
        ) from error
    return folder / "wandb"


def _run(
    kit: Any,
    shared: Mapping[str, str],
    job: JobResource,
    candidate: str,
    parameters: Mapping[str, object],
    figures: Mapping[str, float],
    notes: Mapping[str, str],
) -> None:
    """One run; of the job itself if it is of no candidate."""
    settings = kit.Settings(
        mode="offline", silent=True, console="off", disable_git=True, disable_code=True, x_disable_stats=True,
        x_disable_machine_info=True, x_save_requirements=False,
    )  # fmt: skip
    run = kit.init(
        **shared,
        id=hashlib.sha256(f"{job.id} {candidate}".encode()).hexdigest()[:16],
        name=candidate or job.model,
        job_type="candidate" if candidate else "job",
        config={**job_parameters(job), **parameters},
        notes=notes.get("verdict") or notes.get("refused"),
        settings=settings,
        reinit="create_new",
    )
    try:
        run.log(dict(figures))
        run.summary.update(dict(notes))
    finally:
        run.finish()
