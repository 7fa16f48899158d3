"""A job as MLflow runs: one for the job, and below it one for each candidate. Needs the package `mlflow-skinny`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from burnish.errors import Unavailable
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

__all__ = ["to_mlflow"]

_NOT_IN_NAMES = re.compile(r"[^\w\-. /:]", re.ASCII)
"""What MLflow takes in no name of a figure or parameter."""
_JOB, _PARENT, _NOTE = "burnish.job", "mlflow.parentRunId", "mlflow.note.content"
_AT_ONCE = 100
"""Parameters that one call may log."""
_LONGEST = 500
"""Characters of a parameter's value that every server takes."""
_LONGEST_TAG = 5000


def to_mlflow(job: JobResource, uri: str, experiment: str = "burnish") -> str:
    """Logs a job to an MLflow tracking store.

    A job that is there whole is left as it is; one of which a part is there (an export was killed) is written anew.

    Args:
        uri: of the tracking store: `http://…`, `sqlite:///…`, or a folder (which MLflow 3 reads only with
            `MLFLOW_ALLOW_FILE_STORE=true`).
        experiment: the name of the experiment; it is made if there is none.

    Returns:
        The id of the job's run.

    Raises:
        burnish.errors.Conflict: the job has no verdict.
        burnish.errors.Unavailable: MLflow is not installed, or the store can't be used.
    """
    verdict = verdict_of(job)
    kit = load("mlflow", "mlflow")
    try:
        runs = _Runs(kit, uri, experiment)
        if whole := runs.whole(job.id):
            return whole
        run = runs.begin(job, job.model, _described(texts(job)))
        steps = {f"{step.name}/{name}": value for step in job.steps for name, value in step_figures(step).items()}
        runs.log(run, job_parameters(job), {**job_figures(job), **steps})
        for candidate in verdict.candidates:
            runs.candidate(job, candidate, run)
        runs.end(run, job)
    except kit.exceptions.MlflowException as error:
        raise Unavailable(
            f"MLflow does not take the job: {error}", cure="Check the address of the tracking store, and its version."
        ) from error
    return run


class _Runs:
    """The runs of one experiment."""

    def __init__(self, kit: Any, uri: str, experiment: str) -> None:
        self._kit = kit
        self._client = kit.MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        self._experiment = found.experiment_id if found else self._client.create_experiment(experiment)

    def whole(self, job_id: str) -> str | None:
        """The run of a job that was written to its end; what was not is deleted."""
        found = self._client.search_runs([self._experiment], f"tags.`{_JOB}` = '{job_id}'")
        for run in found:
            if _PARENT not in run.data.tags and run.info.status == "FINISHED":
                return str(run.info.run_id)
        for run in found:
            self._client.delete_run(run.info.run_id)
        return None

    def begin(self, job: JobResource, name: str, tags: Mapping[str, str]) -> str:
        """A new run, which began when the job did."""
        start = _milliseconds(job.started_at or job.created_at)
        made = self._client.create_run(self._experiment, start_time=start, tags={_JOB: job.id, **tags}, run_name=name)
        return str(made.info.run_id)

    def candidate(self, job: JobResource, candidate: Candidate, parent: str) -> None:
        """The run of a candidate, with why it was refused."""
        notes = {"refused": candidate.refused} if candidate.refused else {"notes": "\n\n".join(candidate.notes)}
        run = self.begin(job, candidate.name, {_PARENT: parent, **_described(notes)})
        self.log(run, {**job_parameters(job), **candidate_parameters(candidate)}, candidate_figures(candidate))
        self.end(run, job, "FAILED" if candidate.refused else "FINISHED")

    def log(self, run: str, parameters: Mapping[str, object], figures: Mapping[str, float]) -> None:
        """Parameters, and figures at step 0: each was measured once."""
        entities = self._kit.entities
        params = [entities.Param(_name(key), str(value)[:_LONGEST]) for key, value in parameters.items()]
        for start in range(0, len(params), _AT_ONCE):
            self._client.log_batch(run, params=params[start : start + _AT_ONCE])
        at = self._client.get_run(run).info.start_time
        metrics = [entities.Metric(_name(key), value, at, 0) for key, value in figures.items()]
        for start in range(0, len(metrics), _AT_ONCE):
            self._client.log_batch(run, metrics=metrics[start : start + _AT_ONCE])

    def end(self, run: str, job: JobResource, status: str = "FINISHED") -> None:
        """The run ended when the job did."""
        self._client.set_terminated(run, status, _milliseconds(job.finished_at or job.created_at))


def _described(found: Mapping[str, str]) -> dict[str, str]:
    """The tag that MLflow shows as the description of a run. Texts stand there rather than in files beside: those go to
    a store of their own, for which this machine may have no key."""
    text = "\n\n".join(f"### {name}\n\n{each}" for name, each in found.items() if each)
    return {_NOTE: text[:_LONGEST_TAG]} if text else {}


def _name(text: str) -> str:
    return _NOT_IN_NAMES.sub("_", text)


def _milliseconds(moment: Any) -> int:
    return int(moment.timestamp() * 1000)
