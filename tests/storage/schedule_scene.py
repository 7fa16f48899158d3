"""Short ways to say what a test of schedules is about. Each method is one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import update

from burnish.errors import InternalError
from burnish.recipe import ScheduleSpec
from burnish.results import Artifact
from storage import aliases, datasets, firings, jobs, models, schedules, workers
from storage.aliases import Entry
from storage.blob_digest import Blob
from storage.blob_index import confirm, hold
from storage.database import Database
from storage.firing import Cause, fire
from storage.firings import Firing
from storage.records import Dataset, Job, Model
from storage.schedules import Schedule
from storage.tables import schedules as table
from tests.storage.scene import Clock

__all__ = ["ScheduleScene", "spec"]


def spec(**changes: Any) -> ScheduleSpec:
    """A schedule `nightly` that fires every hour."""
    document = {"name": "nightly", "trigger": {"every": 3600}, "job": {"model": "net", "dataset": "samples"}}
    return ScheduleSpec.model_validate({**document, **changes})


class ScheduleScene:
    """A database with a model `net` and data `samples` for it, on a clock that the test moves."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database, self.clock = database, clock
        self.model()
        self.dataset()

    def model(self, name: str = "net", features: int = 4) -> Model:
        """The next version."""
        inputs = [{"name": "x", "dtype": "float32", "shape": [None, features]}]
        signature = {"inputs": inputs, "outputs": [{"name": "y", "dtype": "float32", "shape": [None, 3]}]}
        with self.database.begin() as tx:
            digest = secrets.token_hex(32)
            return models.create(tx, name=name, digest=digest, size=1000, signature={**signature, "parameters": 10})

    def dataset(self, name: str = "samples", features: int = 4) -> Dataset:
        """Newer data under that name."""
        tensors = {"name": "inputs", "dtype": "float32", "shape": [40, features]}
        schema = {"format": "npz", "inputs": [tensors], "targets": None, "samples": 40}
        with self.database.begin() as tx:
            return datasets.create(
                tx, name=name, digest=secrets.token_hex(32), size=1, format="npz", schema=schema, samples=40,
                labelled=False,
            )  # fmt: skip

    def worker(self, id: str = "wrk_1", *, isa: Sequence[str] = ("avx2",), torch: str = "2.13.0") -> None:
        """A live worker."""
        with self.database.begin() as tx:
            workers.announce(
                tx, id=id, name=id, queues=["cpu"], device="cpu", isa=list(isa), threads=2, memory=10**9,
                environment="here", versions={"torch": torch, "python": "3.11"},
            )  # fmt: skip

    def schedule(self, **changes: Any) -> Schedule:
        """As `spec`."""
        with self.database.begin() as tx:
            return schedules.create(tx, spec(**changes))

    def rewrite(self, schedule: Schedule, **changes: Any) -> Schedule:
        """Its spec as another version of Burnish would have written it."""
        with self.database.begin() as tx:
            values = {"spec": {**schedule.spec, **changes}}
            tx.execute(update(table).where(table.c.id == schedule.id).values(**values))
            return schedules.get(tx, schedule.id)

    def now(self, schedule: Schedule) -> Schedule:
        """As it stands."""
        with self.database.read() as tx:
            return schedules.get(tx, schedule.id)

    def fire(self, schedule: Schedule, reason: str = "By hand.") -> Firing:
        """Fires it."""
        with self.database.begin() as tx:
            present = schedules.get(tx, schedule.id)
            assert schedules.take(tx, present)
            return fire(tx, present, Cause("manual", reason))

    def history(self, schedule: Schedule) -> list[Firing]:
        """Newest first."""
        with self.database.read() as tx:
            return firings.of_schedule(tx, schedule.id, after=None, limit=100)

    def job(self, job_id: str | None) -> Job:
        """As it stands."""
        assert job_id is not None
        with self.database.read() as tx:
            return jobs.get(tx, job_id)

    def jobs(self) -> list[Job]:
        """All of them, newest first."""
        with self.database.read() as tx:
            return jobs.list_(tx, after=None, limit=100)

    def end(self, job_id: str | None) -> None:
        """Lets a job fail."""
        assert job_id is not None
        with self.database.begin() as tx:
            assert jobs.fail(tx, job_id, InternalError("It broke.", cure="Mend it.").document())

    def artifact(self, size: int = 100, backend: str = "onnxruntime") -> Artifact:
        """One whose bytes have a row."""
        digest = secrets.token_hex(32)
        with self.database.begin() as tx:
            confirm(tx, hold(tx, Blob(digest=digest, size=size)))
        return Artifact(name="model.onnx", digest=digest, size=size, backend=backend, usage="run it")

    def made_by(self) -> Job:
        """A job of the newest version of `net`."""
        with self.database.begin() as tx:
            model, data = models.resolve(tx, "net"), datasets.resolve(tx, "samples")
            return jobs.create(tx, spec=spec().job.model_dump(mode="json"), model=model, dataset=data, priority=5)

    def alias(self, artifact: Artifact | None = None, alias: str = "production", **more: Any) -> Entry:
        """Lets the alias stand for an artifact."""
        how: Mapping[str, Any] = {"action": "set", "reason": "By hand.", **more}
        found, job = artifact or self.artifact(), self.made_by()
        with self.database.begin() as tx:
            return aliases.set_(
                tx, model="net", alias=alias, artifact=found, candidate="quantize@onnxruntime", job=job, **how
            )
