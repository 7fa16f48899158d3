"""Records of `storage` as the documents that the API answers with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.replies import moment
from api.understood import spec_of, verdict_of
from burnish.formats import DatasetSchema
from burnish.recipe import JobSpec
from burnish.resources import (
    DatasetResource,
    ErrorResource,
    EventResource,
    FailureResource,
    JobResource,
    JobSummary,
    ModelResource,
    StepResource,
    WorkerResource,
)
from burnish.results import Artifact, Candidate, Signature, Verdict
from burnish.trace import Trace
from storage.records import Dataset, Event, Job, Model, Step, WorkerRow

__all__ = ["dataset_resource", "event_resource", "job_resource", "job_summary", "model_resource", "worker_resource"]


def model_resource(model: Model) -> ModelResource:
    """An uploaded model."""
    return ModelResource(
        id=model.id,
        name=model.name,
        version=model.version,
        digest=model.digest,
        size=model.size,
        signature=Signature.model_validate(model.signature),
        created_at=moment(model.created_at),
        pinned=model.pinned_at is not None,
        links={"self": f"/v1/models/{model.id}", "bytes": f"/v1/artifacts/{model.digest}"},
    )


def dataset_resource(dataset: Dataset) -> DatasetResource:
    """An uploaded dataset."""
    schema = DatasetSchema.model_validate(dataset.schema)
    return DatasetResource(
        id=dataset.id,
        name=dataset.name,
        digest=dataset.digest,
        size=dataset.size,
        format=schema.format,
        inputs=schema.inputs,
        targets=schema.targets,
        samples=dataset.samples,
        created_at=moment(dataset.created_at),
        links={"self": f"/v1/datasets/{dataset.id}", "bytes": f"/v1/artifacts/{dataset.digest}"},
    )


def job_summary(job: Job) -> JobSummary:
    """A job in a list."""
    return JobSummary(**_summary(job, spec_of(job)[0], verdict_of(job)[0]))


def job_resource(job: Job, steps: Sequence[Step], schedule: str | None = None) -> JobResource:
    """A job, whole. `schedule` is the id of the one that made it."""
    (spec, unread), (verdict, unread_too), trace = spec_of(job), verdict_of(job), Trace.parse(job.traceparent)
    return JobResource(
        **_summary(job, spec, verdict),
        spec=spec,
        model_id=job.model_id,
        dataset_id=job.dataset_id,
        trace_id=trace.trace_id if trace else None,
        schedule=schedule,
        progress=_progress(job, steps),
        steps=tuple(_step(step) for step in steps),
        verdict=verdict,
        artifacts=_artifacts(verdict) if verdict else (),
        error=_error(job.error) if job.error else None,
        not_understood=(*unread, *unread_too),
    )


def event_resource(event: Event) -> EventResource:
    """One change of a job."""
    return EventResource(id=event.id, at=moment(event.at), kind=event.kind, step=event.step, data=event.data)


def worker_resource(worker: WorkerRow, running: Sequence[str]) -> WorkerResource:
    """A live worker and the keys of what it runs."""
    return WorkerResource(
        id=worker.id,
        name=worker.name,
        queues=tuple(worker.queues),
        device=worker.device,
        isa=tuple(worker.isa),
        threads=worker.threads,
        memory=worker.memory,
        versions=worker.versions,
        running=tuple(running),
        seen_at=moment(worker.seen_at),
    )


def _summary(job: Job, spec: JobSpec, verdict: Verdict | None) -> dict[str, Any]:
    chosen = _chosen(verdict) if verdict else None
    return {
        "id": job.id,
        "state": job.state,
        "model": job.model,
        "dataset": job.dataset,
        "priority": job.priority,
        "outcome": verdict.outcome if verdict else None,
        "speedup": chosen.speedup_over_eager.value if chosen and chosen.speedup_over_eager else None,
        "drop": chosen.quality.drop.value if chosen and chosen.quality else None,
        "goal": spec.recipe.goal,
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at) if job.started_at is not None else None,
        "finished_at": moment(job.finished_at) if job.finished_at is not None else None,
        "links": {"self": f"/v1/jobs/{job.id}", "events": f"/v1/jobs/{job.id}/events", "html": f"/jobs/{job.id}"},
    }


def _chosen(verdict: Verdict) -> Candidate | None:
    return next((item for item in verdict.candidates if item.name == verdict.chosen), None)


def _artifacts(verdict: Verdict) -> tuple[Artifact, ...]:
    """Each file once, the chosen one first."""
    chosen = _chosen(verdict)
    ordered = ([chosen] if chosen else []) + [item for item in verdict.candidates if item is not chosen]
    found: dict[str, Artifact] = {}
    for item in ordered:
        if item.artifact:
            found.setdefault(item.artifact.digest, item.artifact)
    return tuple(found.values())


def _progress(job: Job, steps: Sequence[Step]) -> float:
    if job.state == "succeeded":
        return 1.0
    done = sum(1.0 if step.state == "done" else (step.progress or 0.0) for step in steps)
    return round(done / len(steps), 4) if steps else 0.0


def _step(step: Step) -> StepResource:
    return StepResource(
        name=step.name,
        op=step.op,
        state=step.state,
        key=step.key,
        hit=step.hit,
        why=_why(step.why),
        attempt=step.attempt or 0,
        progress=1.0 if step.state == "done" else step.progress or 0.0,
        doing=step.doing if step.state == "leased" else None,
        worker=step.worker,
        started_at=moment(step.started_at) if step.started_at is not None else None,
        seconds=step.seconds,
        peak_memory=step.peak_memory,
        report=step.report or {},
        error=_error(step.error) if step.error else None,
        failures=tuple(_failure(reason) for reason in step.reasons or ()),
    )


def _failure(reason: Mapping[str, Any]) -> FailureResource:
    seen_at = reason.get("seen_at")
    return FailureResource(
        attempt=reason["attempt"],
        worker=reason.get("worker"),
        at=moment(reason["at"]),
        seconds=reason.get("seconds"),
        seen_at=moment(seen_at) if seen_at is not None else None,
        doing=reason.get("doing"),
        error=_error(reason["error"]),
    )


def _why(why: Mapping[str, Any] | None) -> str | None:
    """The reason for a hit or a miss, in words."""
    if not why:
        return None
    if why.get("skipped"):
        return f"Left out: {why['skipped']}"
    if why.get("hit"):
        return "Same key as an earlier step: read from the cache."
    differs = why.get("differs") or ()
    if not differs:
        return "Nothing like it was computed before."
    return f"Differs from the nearest earlier one in {', '.join(differs)}."


def _error(error: Mapping[str, Any]) -> ErrorResource:
    """The stored error; whatever it holds beside the fixed members is kept among its details."""
    fixed = ("code", "class", "message", "where", "cure", "details")
    known = {name: value for name, value in error.items() if name not in fixed} | dict(error.get("details") or {})
    return ErrorResource(
        code=error.get("code", "internal"),
        error_class=error.get("class", "internal"),
        message=error.get("message", "It failed without saying why."),
        where=error.get("where"),
        cure=error.get("cure", "Try it again."),
        details={name: value for name, value in known.items() if value is not None},
    )
