"""Rows as frozen objects: what crosses the boundary between SQL and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from sqlalchemy import Row

from burnish.recipe import Target

__all__ = [
    "Claim",
    "Computation",
    "ComputationState",
    "Dataset",
    "Event",
    "Job",
    "JobState",
    "Model",
    "Step",
    "StepState",
    "WorkerRow",
    "from_row",
]

JobState = Literal["queued", "running", "canceling", "succeeded", "failed", "canceled"]
StepState = Literal["waiting", "ready", "leased", "done", "failed", "canceled"]
ComputationState = Literal["ready", "leased", "done", "failed", "canceled"]
Json = dict[str, Any]
RecordT = TypeVar("RecordT")


@dataclass(frozen=True, kw_only=True)
class Model:
    """An uploaded program. Only its pin ever changes."""

    id: str
    name: str
    version: int
    """1 for the first of that name."""
    digest: str
    size: int
    signature: Json
    created_at: float
    pinned_at: float | None
    """Since when results of its jobs are never evicted."""

    @property
    def ref(self) -> str:
        """`name:version`."""
        return f"{self.name}:{self.version}"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An uploaded dataset. Never changes."""

    id: str
    name: str
    digest: str
    size: int
    format: str
    schema: Json
    samples: int
    labelled: bool
    created_at: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """A submitted job."""

    id: str
    state: JobState
    spec: Json
    model_id: str
    model: str
    """`name:version`, as it was resolved when the job was accepted."""
    model_digest: str
    dataset_id: str
    dataset: str
    """Name of the dataset."""
    dataset_digest: str
    priority: int
    """0 runs first, 9 last."""
    revision: int
    """Grows by one with each event of the job, thus with every change of it or its steps: its ETag."""
    traceparent: str | None
    """The W3C trace context of the request that submitted it."""
    verdict: Json | None
    """Set exactly when it succeeded."""
    error: Json | None
    """Set exactly when it failed."""
    created_at: float
    started_at: float | None
    """When it was planned."""
    finished_at: float | None

    @property
    def device(self) -> str:
        """Device class whose workers plan it; it can be read whatever version of Burnish wrote the spec."""
        found: Any = self.spec
        for name in ("recipe", "target", "device"):
            found = found.get(name) if isinstance(found, Mapping) else None
        return found if isinstance(found, str) else Target().device


@dataclass(frozen=True, kw_only=True)
class Computation:
    """What one cache key stands for: its lease, its single flight and its cached result."""

    key: str
    op: str
    spec: Json
    inputs: dict[str, str]
    """Digests by role."""
    key_parts: Json
    """What the key was made from, by name."""
    queue: str
    alone: bool
    """True if nothing else may run on the host meanwhile."""
    priority: int
    turn: float
    """Order among those that are ready, the smallest first (`storage/turns.py`)."""
    state: ComputationState
    attempt: int
    """The fencing token: grows with every claim and never goes back."""
    failures: int
    """Attempts that count against `max_attempts`; `reasons` has one entry for each."""
    max_attempts: int
    worker: str | None
    lease_until: float | None
    seen_at: float | None
    """Last sign of life of the present or last attempt."""
    run_after: float
    """Not claimed before this time (backoff)."""
    dispatched_at: float | None
    """When a doorbell was last rung for it; `None`: due at once."""
    cancel: bool
    """No live job wants it; the worker is to stop."""
    progress: float
    doing: str | None
    outputs: dict[str, str] | None
    """Digests by role; set exactly when done."""
    report: Json | None
    error: Json | None
    """Set exactly when failed."""
    reasons: list[Json]
    """Why each counted attempt failed."""
    seconds: float | None
    peak_memory: int | None
    created_at: float
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A lease that was won: all that is needed to run it."""

    key: str
    attempt: int
    """Goes into every later call on this lease."""
    op: str
    spec: Json
    inputs: dict[str, str]
    queue: str
    alone: bool
    priority: int
    failures: int
    """Earlier attempts that failed."""
    max_attempts: int
    reasons: list[Json]
    """Why they did: a step may want to use less the next time."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One node of a job's graph, together with the computation it is bound to (from `inputs` on)."""

    job_id: str
    name: str
    op: str
    spec: Json
    """Settings, inputs (`step.role` or `sha256:digest`), target, seed."""
    queue: str
    optional: bool
    """Its failure does not fail the job."""
    position: int
    state: StepState
    key: str | None
    """The cache key, once its inputs are known."""
    hit: bool
    """Its result was in the cache when the job came to it."""
    why: Json | None
    """Why it hit or missed; `skipped` if it was left out."""
    error: Json | None
    """Set exactly when failed. A copy: the computation may be tried again for another job."""
    inputs: dict[str, str] | None
    attempt: int | None
    failures: int | None
    worker: str | None
    progress: float | None
    doing: str | None
    outputs: dict[str, str] | None
    report: Json | None
    reasons: list[Json] | None
    seconds: float | None
    peak_memory: int | None
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change, log line or sign of progress of a job."""

    job_id: str
    id: int
    """Grows by one within its job, in the order of commits; equals the job's revision just after it."""
    at: float
    kind: str
    step: str | None
    data: Json


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    """A worker process that announced itself."""

    id: str
    name: str
    queues: list[str]
    device: str
    isa: list[str]
    threads: int
    memory: int
    environment: str
    versions: dict[str, str]
    started_at: float
    seen_at: float


def from_row(record: type[RecordT], row: Row[Any]) -> RecordT:
    """The record of a row whose columns have the names of its fields."""
    columns = row._mapping
    return record(**{field.name: columns[field.name] for field in fields(record)})  # type: ignore[arg-type]
