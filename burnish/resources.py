"""The documents of the REST API, as both sides see them: the API answers with these, the client reads these.

Times are ISO 8601 in UTC; sizes are bytes; durations are seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from burnish.aliases import AliasChange, AliasEntryResource, AliasResource
from burnish.document import Document
from burnish.faults import FaultResource
from burnish.recipe import Goal, JobSpec
from burnish.results import Artifact, Signature, TensorSpec, Verdict
from burnish.schedules import DecisionResource, FiringResource, ScheduleChange, ScheduleResource
from burnish.webhooks import AttemptResource, DeliveryResource, WebhookChange, WebhookResource, WebhookSpec

__all__ = [
    "AliasChange",
    "AliasEntryResource",
    "AliasResource",
    "ArtifactList",
    "AttemptResource",
    "DatasetResource",
    "DecisionResource",
    "DeliveryResource",
    "DirectPart",
    "DirectParts",
    "ErrorResource",
    "EventResource",
    "FailureResource",
    "FaultResource",
    "FiringResource",
    "JobChange",
    "JobResource",
    "JobSummary",
    "ModelResource",
    "Page",
    "PassResource",
    "Problem",
    "RecipeCheck",
    "RecipeFault",
    "RecipeQuestion",
    "ScheduleChange",
    "ScheduleResource",
    "StepResource",
    "UploadOrder",
    "UploadPart",
    "UploadResource",
    "WebhookChange",
    "WebhookResource",
    "WebhookSpec",
    "WorkerResource",
]

ItemT = TypeVar("ItemT")


class Page(Document, Generic[ItemT]):
    """One page of a list, newest first."""

    items: tuple[ItemT, ...]
    next: str | None = None
    """Cursor for the next page (`?cursor=`); `None` on the last."""


class ModelResource(Document):
    """An uploaded model."""

    id: str
    name: str
    version: int
    digest: str
    """SHA-256 of the bytes as uploaded."""
    size: int
    signature: Signature
    created_at: datetime
    pinned: bool = False
    """Results of its jobs are never evicted from the store."""
    links: dict[str, str]


class DatasetResource(Document):
    """An uploaded dataset."""

    id: str
    name: str
    digest: str
    size: int
    format: Literal["safetensors", "npz"]
    inputs: tuple[TensorSpec, ...]
    targets: TensorSpec | None
    samples: int
    created_at: datetime
    links: dict[str, str]


class ErrorResource(Document):
    """Why a step or a job failed."""

    code: str
    error_class: Literal["user", "resource", "internal"]
    message: str
    where: str | None = None
    cure: str
    details: dict[str, Any] = {}
    """What else is known. Of a step: `log_tail`, `peak_memory`, `memory_limit`, `exit_status` (negative: the signal),
    `threads`, `settings`. Of a job: the same of its failed step, and `step`, the name of that."""


class FailureResource(Document):
    """Why one attempt at a step failed."""

    attempt: int
    worker: str | None
    at: datetime
    seconds: float | None
    """How long it ran."""
    seen_at: datetime | None
    """Last sign of life, of a worker that was lost."""
    doing: str | None
    """What it was doing then."""
    error: ErrorResource


class StepResource(Document):
    """One node of a job's graph."""

    name: str
    op: str
    state: Literal["waiting", "ready", "leased", "done", "failed", "canceled"]
    key: str | None
    """The cache key, once its inputs are known."""
    hit: bool
    """True if the result was in the cache when the job came to it."""
    why: str | None
    """Why it hit, or which parts of the key differ from the nearest earlier one."""
    attempt: int
    progress: float
    doing: str | None
    worker: str | None
    started_at: datetime | None
    seconds: float | None
    peak_memory: int | None
    report: dict[str, Any]
    error: ErrorResource | None
    failures: tuple[FailureResource, ...] = ()
    """Every attempt that failed, also of a step that was done in the end; the oldest first."""


class JobChange(Document):
    """What can be changed of a job that waits or runs."""

    priority: int = Field(ge=0, le=9)
    """0 runs first, 9 last."""


class JobSummary(Document):
    """A job in a list."""

    id: str
    state: Literal["queued", "running", "canceling", "succeeded", "failed", "canceled"]
    model: str
    """`name:version` of the model."""
    dataset: str
    priority: int
    outcome: Literal["improved", "no_gain", "target_missed"] | None
    speedup: float | None
    """Over eager, of the candidate handed back."""
    drop: float | None
    goal: Goal = Goal()
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    links: dict[str, str]


class JobResource(JobSummary):
    """A job, whole."""

    spec: JobSpec
    model_id: str
    dataset_id: str
    trace_id: str | None = None
    """Of the W3C trace context that it was submitted in: 32 hex digits that are in all log lines about it."""
    schedule: str | None = None
    """Id of the schedule that made it; `null` if none did, or it is deleted."""
    progress: float
    """Share of its steps that is done, counting the progress of those that run."""
    steps: tuple[StepResource, ...]
    verdict: Verdict | None
    artifacts: tuple[Artifact, ...]
    """What to download, the chosen one first."""
    error: ErrorResource | None
    not_understood: tuple[FaultResource, ...] = ()
    """Parts of `spec` and `verdict` that another version of Burnish wrote and this one can't read: they are left out.
    Empty as a rule."""


class ArtifactList(Document):
    """The artifacts of one job."""

    items: tuple[Artifact, ...]


class EventResource(Document):
    """One change, log line or sign of progress. Ids grow."""

    id: int
    at: datetime
    kind: str
    """`job.queued`, `step.leased`, `step.progress`, `log`, …"""
    step: str | None
    data: dict[str, Any]


class PassResource(Document):
    """One entry of the catalogue."""

    name: str
    kind: Literal["pass", "backend"]
    summary: str
    understands: str
    """The operators that it treats; a pass leaves all others alone, each with the reason in its report."""
    devices: tuple[str, ...]
    """Of a pass: where it computes, whatever the target. Of a backend: where its artifacts run."""
    needs: tuple[str, ...]
    """What of the dataset it reads: `calibration`, `labels`."""
    may_need: tuple[str, ...]
    """What it reads besides with some settings."""
    never_after: tuple[str, ...]
    """Passes that may not stand anywhere before it."""
    settings: dict[str, Any]
    """JSON schema of its settings."""


class WorkerResource(Document):
    """A worker that gave a sign of life lately."""

    id: str
    name: str
    queues: tuple[str, ...]
    device: str
    isa: tuple[str, ...]
    threads: int
    memory: int
    versions: dict[str, str]
    running: tuple[str, ...]
    """Keys of the steps it runs now."""
    seen_at: datetime


class Problem(Document):
    """An error, as RFC 9457 has it, with our members beside."""

    type: str
    """`about:burnish#<code>`; the code is explained in the docs."""
    title: str
    status: int
    detail: str
    code: str
    error_class: Literal["user", "resource", "internal"]
    where: str | None = None
    cure: str
    faults: tuple[FaultResource, ...] = ()


class UploadOrder(Document):
    """What is to be uploaded in parts."""

    kind: Literal["model", "dataset"]
    name: str = Field(min_length=1, max_length=100)
    """What it is to be called. Models of one name are its versions."""
    size: int = Field(ge=0)
    """Bytes of the whole file."""
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    """Of the whole file; other bytes than these are refused at the end."""


class UploadPart(Document):
    """A part that has arrived."""

    number: int
    """From 1."""
    size: int
    digest: str
    """SHA-256 of its bytes."""


class DirectPart(Document):
    """A part that may be sent straight to the store."""

    number: int
    size: int
    """Bytes it has to have."""
    url: str
    """A PUT of the bytes to it, without the token, is the part. Whoever has the link can send it."""


class DirectParts(Document):
    """Where parts may be sent in place of the service: to the store itself."""

    missing: int
    """Parts that have not arrived there."""
    parts: tuple[DirectPart, ...]
    """Links for the first of those; GET the upload for the next, or when they have expired."""
    expires_at: datetime
    """Until when the links work."""


class UploadResource(Document):
    """An upload in parts."""

    id: str
    kind: Literal["model", "dataset"]
    name: str
    size: int
    part_size: int
    """Bytes of each part but the last."""
    part_count: int
    parts: tuple[UploadPart, ...]
    """Those that have arrived; none of a completed upload."""
    resource: str | None
    """Id of the model or dataset that came of it, once it is completed."""
    expires_at: datetime
    """Each part that arrives at the service moves this on."""
    direct: DirectParts | None = None
    """Set where parts may be sent straight to the store. A file goes one way or the other, not in part by each."""
    links: dict[str, str]


class RecipeQuestion(Document):
    """A recipe to check, as data or as YAML text, and what it is meant for."""

    recipe: Any = None
    yaml: str | None = None
    """In place of `recipe`."""
    model: str | None = None
    """Id, name or `name:version`."""
    dataset: str | None = None
    """Id or name."""


class RecipeFault(FaultResource):
    """A fault of a recipe. `where` is its place inside the recipe, or `/model` or `/dataset`."""

    line: int | None = None
    """Of the YAML text, from 1."""


class RecipeCheck(Document):
    """What is known of a recipe without running it."""

    recipe: Any
    """As plain data, without what was left out; `null` if the YAML can't be read."""
    yaml: str
    """The same as YAML; the text that was sent, if it was YAML."""
    faults: tuple[RecipeFault, ...]
