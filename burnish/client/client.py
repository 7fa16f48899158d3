"""The Python client: every call of the REST API as a typed method."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

from burnish.client import parts
from burnish.client.aliases import AliasCalls
from burnish.client.schedules import ScheduleCalls
from burnish.client.transport import Transport
from burnish.client.webhooks import WebhookCalls
from burnish.document import Document
from burnish.errors import BlobCorrupt, Conflict
from burnish.recipe import Recipe
from burnish.resources import (
    DatasetResource,
    EventResource,
    JobResource,
    JobSummary,
    ModelResource,
    Page,
    PassResource,
    WorkerResource,
)
from burnish.results import Artifact
from burnish.settings import Settings

__all__ = ["Client"]

DocumentT = TypeVar("DocumentT", bound=Document)
Seen = Callable[[int, int], None]
"""Called with bytes moved and bytes in all."""
_CHUNK = 1 << 20
_FINISHED = frozenset({"succeeded", "failed", "canceled"})


class Client:
    """Talks to one Burnish service.

    Args:
        url: address of the service; by default `BURNISH_URL`, and without that the embedded service on this
            machine, started when needed.
        token: bearer token; by default `BURNISH_TOKEN`.

    Raises:
        burnish.errors.Unavailable: the service can't be reached or started.
    """

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        settings = Settings.from_environment(os.environ)
        if url is None and not settings.url:
            from burnish.local.running import ensure

            url = ensure(settings.data).url
        self._transport = Transport(url or settings.url, settings.token if token is None else token)
        self.schedules = ScheduleCalls(self._transport)
        """Jobs that are submitted again and again."""
        self.aliases = AliasCalls(self._transport)
        """Which artifact of a model is `production`."""
        self.webhooks = WebhookCalls(self._transport)
        """Who is told of what happens."""

    @property
    def url(self) -> str:
        """Address of the service, without a trailing slash."""
        return self._transport.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def upload_model(self, path: str | Path, name: str | None = None, seen: Seen | None = None) -> ModelResource:
        """Uploads a `.pt2`; the same bytes under the same name are the same version again.

        Raises:
            burnish.errors.InvalidModel: it is not a clean `torch.export` archive.
        """
        return self._upload("model", Path(path), name, seen, ModelResource)

    def upload_dataset(self, path: str | Path, name: str | None = None, seen: Seen | None = None) -> DatasetResource:
        """Uploads a `.safetensors` or `.npz` with `inputs` and, if labelled, `targets`.

        Raises:
            burnish.errors.InvalidDataset: it is damaged or of another format.
        """
        return self._upload("dataset", Path(path), name, seen, DatasetResource)

    def models(self, limit: int = 50, cursor: str | None = None) -> Page[ModelResource]:
        """Uploaded models, newest first."""
        return self._page("/v1/models", ModelResource, limit=limit, cursor=cursor)

    def model(self, id: str) -> ModelResource:
        """One model."""
        return self._get(f"/v1/models/{id}", ModelResource)

    def pin(self, id: str) -> ModelResource:
        """Keeps what jobs of a model made from being evicted from the store.

        `id` may be `name:version` or a name (its newest version) too.
        """
        return ModelResource.model_validate_json(self._transport.put(f"/v1/models/{quote(id, safe='')}/pin").content)

    def unpin(self, id: str) -> ModelResource:
        """Takes the pin off a model."""
        return ModelResource.model_validate_json(self._transport.delete(f"/v1/models/{quote(id, safe='')}/pin").content)

    def datasets(self, limit: int = 50, cursor: str | None = None) -> Page[DatasetResource]:
        """Uploaded datasets, newest first."""
        return self._page("/v1/datasets", DatasetResource, limit=limit, cursor=cursor)

    def dataset(self, id: str) -> DatasetResource:
        """One dataset."""
        return self._get(f"/v1/datasets/{id}", DatasetResource)

    def submit(
        self, model: str, dataset: str, recipe: Recipe | Mapping[str, Any] | None = None, priority: int = 5
    ) -> JobResource:
        """Submits a job. A recipe without passes leaves them to the search under its goal.

        Raises:
            burnish.errors.InvalidSpec: with every fault of the spec and its path.
        """
        document = recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else dict(recipe or {})
        spec = {"model": model, "dataset": dataset, "recipe": document, "priority": priority}
        return JobResource.model_validate_json(self._transport.post("/v1/jobs", spec).content)

    def jobs(self, limit: int = 50, cursor: str | None = None, state: str | None = None) -> Page[JobSummary]:
        """Jobs, newest first."""
        return self._page("/v1/jobs", JobSummary, limit=limit, cursor=cursor, state=state)

    def job(self, id: str) -> JobResource:
        """One job with its steps and, once it is finished, its verdict."""
        return self._get(f"/v1/jobs/{id}", JobResource)

    def watch(self, id: str, poll_seconds: float = 0.5) -> Iterator[JobResource]:
        """Yields the job each time it changed, until it is finished. Polls with ETag: no change costs a 304."""
        etag: str | None = None
        while True:
            response = self._transport.get(f"/v1/jobs/{id}", etag=etag)
            if response.status_code != 304:
                etag = response.headers.get("ETag")
                job = JobResource.model_validate_json(response.content)
                yield job
                if job.state in _FINISHED:
                    return
            time.sleep(poll_seconds)

    def wait(self, id: str, poll_seconds: float = 0.5) -> JobResource:
        """Returns the job once it is finished."""
        for job in self.watch(id, poll_seconds):
            latest = job
        return latest

    def events(self, id: str, after: int = 0, limit: int = 200) -> Page[EventResource]:
        """Changes, log lines and progress of a job, oldest first, behind event `after`."""
        return self._page(f"/v1/jobs/{id}/events", EventResource, after=after, limit=limit)

    def history(self, id: str, after: int = 0) -> Iterator[EventResource]:
        """All events of a job up to now behind event `after`, oldest first, read as they arrive."""
        with self._transport.stream(f"/v1/jobs/{id}/events?format=ndjson&after={after}") as response:
            for line in _lines(response.iter_bytes(_CHUNK)):
                yield EventResource.model_validate_json(line)

    def cancel(self, id: str) -> JobResource:
        """Cancels a job; one that has succeeded or failed raises `Conflict`."""
        return JobResource.model_validate_json(self._transport.post(f"/v1/jobs/{id}/cancel").content)

    def retry(self, id: str) -> JobResource:
        """Runs a failed or canceled job again; finished steps are answered from the cache."""
        return JobResource.model_validate_json(self._transport.post(f"/v1/jobs/{id}/retry").content)

    def set_priority(self, id: str, priority: int) -> JobResource:
        """Changes the priority (0 runs first, 9 last) of a job that waits or runs, and of its ready steps.

        Raises:
            burnish.errors.Conflict: it has ended, or is being canceled.
        """
        response = self._transport.patch(f"/v1/jobs/{id}", {"priority": priority})
        return JobResource.model_validate_json(response.content)

    def fetch(self, job: JobResource, folder: str | Path = ".", artifact: Artifact | None = None) -> Path:
        """Downloads an artifact of a job (by default the chosen one) and checks its digest.

        Returns:
            The path of the file, written only when whole.

        Raises:
            burnish.errors.Conflict: the job has none.
            burnish.errors.BlobCorrupt: the bytes don't have their digest.
        """
        if artifact is None:
            if not job.artifacts:
                raise Conflict(
                    f"Job {job.id} is {job.state} and has no artifact.",
                    cure="Wait until it has succeeded; with `no_gain` keep the model you have.",
                )
            artifact = job.artifacts[0]
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        destination, partial = folder / artifact.name, folder / f".{artifact.name}.part"
        digest = hashlib.sha256()
        try:
            with (
                self._transport.stream(f"/v1/artifacts/{artifact.digest}") as response,
                partial.open("wb") as file,
            ):
                for chunk in response.iter_bytes(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != artifact.digest:
                raise BlobCorrupt(f"{artifact.name} arrived damaged: its digest differs.", cure="Fetch it again.")
            partial.replace(destination)
        finally:
            partial.unlink(missing_ok=True)
        return destination

    def passes(self) -> Page[PassResource]:
        """The catalogue: passes and backends with the JSON schemas of their settings."""
        return self._page("/v1/passes", PassResource)

    def workers(self) -> Page[WorkerResource]:
        """Workers that gave a sign of life lately."""
        return self._page("/v1/workers", WorkerResource)

    def _get(self, path: str, kind: type[DocumentT]) -> DocumentT:
        return kind.model_validate_json(self._transport.get(path).content)

    def _page(self, path: str, kind: type[DocumentT], **query: str | int | None) -> Page[DocumentT]:
        return Page[kind].model_validate_json(self._transport.get(path, query).content)  # type: ignore[valid-type]

    def _upload(
        self, kind: Literal["model", "dataset"], path: Path, name: str | None, seen: Seen | None, as_: type[DocumentT]
    ) -> DocumentT:
        """In one piece or, if it is large, in parts."""
        size, digest = path.stat().st_size, _digest(path)
        if size >= parts.IN_PARTS:
            answer = parts.send_in_parts(self._transport, kind, path, name or path.stem, digest.hex(), seen)
            return as_.model_validate_json(answer.content)
        headers = {"Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:", "Content-Length": str(size)}

        def chunks() -> Iterator[bytes]:
            moved = 0
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk
                    moved += len(chunk)
                    if seen:
                        seen(moved, size)

        response = self._transport.upload(f"/v1/{kind}s", chunks, headers=headers, name=name or path.stem)
        return as_.model_validate_json(response.content)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that end in a line feed and nothing else: JSON may hold other separators as they are."""
    begun = b""
    for chunk in chunks:
        *whole, begun = (begun + chunk).split(b"\n")
        yield from whole


def _digest(path: Path) -> bytes:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
