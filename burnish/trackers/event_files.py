"""A job as TensorBoard runs. Needs the package `tensorboard`, and neither torch nor TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from burnish.resources import JobResource
from burnish.results import Candidate
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

__all__ = ["to_tensorboard"]

_SUFFIX = ".burnish"
"""Ends the names of our event files, so that an export finds those of the one before."""


def to_tensorboard(job: JobResource, folder: str | Path) -> Path:
    """Writes event files: a run of the job (texts, figures of its steps), and one of each candidate (hparams, scalars).

    The same job again replaces what was written before.

    Returns:
        The folder of the job, `folder/<id of the job>`. Show it with `tensorboard --logdir folder`.

    Raises:
        burnish.errors.Conflict: the job has no verdict.
        burnish.errors.Unavailable: TensorBoard is not installed.
    """
    verdict = verdict_of(job)
    home = Path(folder) / job.id
    kit = _Kit()
    at = job.finished_at.timestamp() if job.finished_at else job.created_at.timestamp()
    with kit.run(home, at) as run:
        run.figures({f"job/{name}": value for name, value in job_figures(job).items()})
        for step in job.steps:
            run.figures({f"step/{step.name}/{name}": value for name, value in step_figures(step).items()})
        run.texts(texts(job))
    for candidate in verdict.candidates:
        with kit.run(home / candidate.name.replace("/", "_"), at) as run:
            run.candidate(job, candidate)
    return home


class _Kit:
    """TensorBoard's own modules, imported now."""

    def __init__(self) -> None:
        self.writer = load("tensorboard.summary.writer.event_file_writer", "tensorboard")
        self.events = load("tensorboard.compat.proto.event_pb2", "tensorboard")
        self.scalar = load("tensorboard.plugins.scalar.summary_v2", "tensorboard")
        self.text = load("tensorboard.plugins.text.summary_v2", "tensorboard")
        self.hparams = load("tensorboard.plugins.hparams.summary_v2", "tensorboard")

    @contextmanager
    def run(self, folder: Path, at: float) -> Iterator[_Run]:
        """An event file in a folder without an older one of ours; whole on disk at the end."""
        for old in folder.glob(f"events.out.tfevents.*{_SUFFIX}"):
            old.unlink()
        writer = self.writer.EventFileWriter(str(folder), filename_suffix=_SUFFIX)
        try:
            yield _Run(self, writer, at)
        finally:
            writer.close()


class _Run:
    """One run that is being written."""

    def __init__(self, kit: _Kit, writer: Any, at: float) -> None:
        self._kit, self._writer, self._at = kit, writer, at

    def figures(self, figures: Mapping[str, float]) -> None:
        """Scalars, at step 0: each was measured once."""
        for name, value in figures.items():
            self._add(self._kit.scalar.scalar_pb(name, value))

    def texts(self, found: Mapping[str, str]) -> None:
        """Markdown."""
        for name, text in found.items():
            self._add(self._kit.text.text_pb(name, text))

    def candidate(self, job: JobResource, candidate: Candidate) -> None:
        """A line of the table on the page HPARAMS, its scalars, and what to know to read them."""
        parameters = {**job_parameters(job), **candidate_parameters(candidate)}
        self._add(
            self._kit.hparams.hparams_pb(parameters, trial_id=f"{job.id} {candidate.name}", start_time_secs=self._at)
        )
        self.figures(candidate_figures(candidate))
        notes = [f"Refused: {candidate.refused}"] if candidate.refused else list(candidate.notes)
        if notes:
            self.texts({"notes": "\n\n".join(notes)})

    def _add(self, summary: Any) -> None:
        self._writer.add_event(self._kit.events.Event(wall_time=self._at, step=0, summary=summary))
