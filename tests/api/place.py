"""What the tests of the API work with, and factories with defaults."""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from apiflask import APIFlask
from flask.testing import FlaskClient

from burnish.errors import Unavailable
from burnish.recipe import JobSpec
from burnish.results import Artifact, Candidate, Environment, Estimate, Latency, Limit, Quality, Verdict
from burnish.settings import Settings
from storage import computations, datasets, jobs, models, steps, workers
from storage.blobs import BlobStore
from storage.database import Database
from storage.records import Claim, Job
from storage.steps import PlannedStep

__all__ = ["Place", "RecordingBell", "dataset_bytes", "verdict"]


@dataclass
class RecordingBell:
    """A doorbell that notes who rang, or is out of order."""

    rung: list[tuple[str, str, int]] = field(default_factory=list)
    broken: bool = False

    def plan(self, job_id: str, queue: str, priority: int) -> None:
        if self.broken:
            raise Unavailable("The broker is away.", cure="Start it.")
        self.rung.append((job_id, queue, priority))


@dataclass(kw_only=True)
class Place:
    """The app and everything behind it."""

    settings: Settings
    database: Database
    blobs: BlobStore
    bell: RecordingBell
    app: APIFlask
    folder: Path

    @cached_property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def stored(self) -> list[str]:
        """Names of every file of the blob store."""
        return [path.name for path in (self.folder / "blobs").rglob("*") if path.is_file()]

    def worker(self, queue: str = "cpu") -> None:
        """A live worker."""
        with self.database.begin() as tx:
            workers.announce(
                tx, id=f"wrk_{queue}", name=f"bench-{queue}", queues=[queue], device=queue, isa=["avx2"], threads=2,
                memory=10**9, environment="here", versions={"torch": "2.13.0"},
            )  # fmt: skip

    def upload(self, model: bytes, dataset: bytes | None = None) -> tuple[str, str]:
        """Ids of an uploaded model `net` and dataset `samples`."""
        made = self.client.post("/v1/models?name=net", data=model)
        sent = self.client.post("/v1/datasets?name=samples", data=dataset or dataset_bytes())
        assert (made.status_code, sent.status_code) == (201, 201), (made.text, sent.text)
        return made.json["id"], sent.json["id"]

    def job(self, *, name: str = "net", recipe: Mapping[str, Any] | None = None) -> Job:
        """A job that was accepted, without its bytes in the store."""
        with self.database.begin() as tx:
            model = models.create(tx, name=name, digest=secrets.token_hex(32), size=1, signature={})
            dataset = datasets.create(
                tx, name="samples", digest=secrets.token_hex(32), size=1, format="npz", schema={}, samples=1,
                labelled=True,
            )  # fmt: skip
            spec = JobSpec.model_validate({"model": model.id, "dataset": dataset.id, "recipe": recipe or {}})
            return jobs.create(tx, spec=spec.model_dump(mode="json"), model=model, dataset=dataset, priority=5)

    def plan(self, job: Job, names: Sequence[str] = ("capture", "prune")) -> None:
        """Gives the job steps."""
        with self.database.begin() as tx:
            jobs.plan(tx, job.id, [PlannedStep(name=name, op=name, spec={}, queue="cpu") for name in names])

    def start(self, job: Job, name: str, key: str | None = None) -> Claim | None:
        """Binds a step, and claims its computation unless that was a hit."""
        key = key or secrets.token_hex(32)
        with self.database.begin() as tx:
            jobs.lock(tx, job.id)
            step = next(step for step in steps.of_job(tx, job.id) if step.name == name)
            steps.bind(
                tx, step, key=key, inputs={}, key_parts={"op": name, "key": key}, queue="cpu",
                alone=False, priority=5,
            )  # fmt: skip
        with self.database.begin() as tx:
            return computations.claim(tx, key, worker="wrk_cpu", ttl=60)

    def finish(self, claim: Claim, outputs: Mapping[str, str] | None = None, report: Any = None) -> None:
        """The step is done."""
        with self.database.begin() as tx:
            computations.commit(
                tx, claim.key, claim.attempt, outputs=outputs or {}, report=report or {}, seconds=1.5, peak_memory=2000
            )

    def progress(self, claim: Claim, share: float, doing: str) -> None:
        """The step says how far it is."""
        with self.database.begin() as tx:
            computations.heartbeat(tx, claim.key, claim.attempt, ttl=60, progress=share, doing=doing)

    def succeed(self, job: Job, result: Verdict) -> None:
        """The job has a verdict."""
        with self.database.begin() as tx:
            assert jobs.succeed(tx, job.id, result.model_dump(mode="json"))


def dataset_bytes(samples: int = 40, features: int = 20, *, labelled: bool = True) -> bytes:
    """Zeros as `.safetensors`: `inputs` (samples, features), and `targets` (samples,) if labelled."""
    size = samples * features * 4
    header: dict[str, Any] = {"inputs": {"dtype": "F32", "shape": [samples, features], "data_offsets": [0, size]}}
    if labelled:
        header["targets"] = {"dtype": "I64", "shape": [samples], "data_offsets": [size, size + 8 * samples]}
        size += 8 * samples
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def _about(value: float, by: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value * (1 - by), high=value * (1 + by))


def candidate(
    name: str, milliseconds: float, drop: float | None = None, digest: str | None = None, refused: str | None = None
) -> Candidate:
    """A contender; the original if it has no drop."""
    backend = name.partition("@")[2] or name
    return Candidate(
        name=name,
        variant=name.partition("@")[0],
        backend=backend,
        latency=None if refused else Latency(median=_about(milliseconds / 1e3), p95=1.0, rounds=20, calls=100),
        speedup_over_eager=None if refused else _about(2.0 / milliseconds),
        speedup_over_compiled=None if refused else _about(1.5 / milliseconds),
        quality=None
        if drop is None
        else Quality(
            metric="top1",
            original=0.96,
            value=0.96 - drop,
            drop=Estimate(value=drop, low=drop - 0.002, high=drop + 0.002),
            samples=1797,
            sqnr_db=20.0,
        ),
        artifact=Artifact(name="model.onnx", digest=digest, size=382_000, backend=backend, usage="import onnxruntime")
        if digest
        else None,
        refused=refused,
    )


def verdict(digest: str = "a" * 64, *, chosen: str | None = "prune@onnxruntime") -> Verdict:
    """Four contenders, one of them refused."""
    return Verdict(
        outcome="improved" if chosen else "no_gain",
        sentence="4.0× faster than the original, with a drop of 0.30 points.",
        chosen=chosen,
        limits=(Limit(name="max_drop", limit=0.005, value=0.003, met=True),),
        candidates=(
            candidate("eager", 2.0),
            candidate("compiled", 1.5),
            candidate("original@onnxruntime", 1.0, 0.0, "b" * 64),
            candidate("prune@onnxruntime", 0.5, 0.003, digest),
            candidate("prune@inductor", 1.0, refused="wrong on the second call"),
        ),
        environment=Environment(cpu="a CPU", isa=("avx2",), threads=1, batch=1, load=0.1, versions={"torch": "2.13.0"}),
    )
