"""Short ways to say what a storage test is about. Each method is one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from burnish.errors import BurnishError, InternalError
from storage import computations, datasets, events, jobs, models, ready, steps
from storage.database import Database
from storage.records import Claim, Computation, Dataset, Event, Job, Model, Step
from storage.steps import PlannedStep

__all__ = ["Clock", "Scene", "chain"]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


def chain(*names: str, optional: Sequence[str] = ()) -> list[PlannedStep]:
    """Steps of which each reads the output `out` of the one before."""
    sources = ["sha256:" + "0" * 64, *(f"{name}.out" for name in names)]
    return [
        PlannedStep(name=name, op=name, spec={"inputs": {"in": source}}, queue="cpu", optional=name in optional)
        for name, source in zip(names, sources, strict=False)
    ]


class Scene:
    """A database with jobs, steps and computations in the states that a test needs."""

    ttl = 30.0

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock

    def model(self, name: str = "lenet", digest: str = "a" * 64) -> Model:
        with self.database.begin() as tx:
            return models.create(tx, name=name, digest=digest, size=1, signature={"inputs": []})

    def dataset(self, name: str = "digits", digest: str = "b" * 64) -> Dataset:
        with self.database.begin() as tx:
            return datasets.create(
                tx, name=name, digest=digest, size=1, format="npz", schema={}, samples=9, labelled=True
            )

    def queued(self, *, priority: int = 5, model: str = "lenet") -> str:
        """A job that was accepted."""
        found, dataset = self.model(model), self.dataset()
        with self.database.begin() as tx:
            return jobs.create(tx, spec={"model": model}, model=found, dataset=dataset, priority=priority).id

    def running(self, *planned: PlannedStep, priority: int = 5) -> str:
        """A job that was planned; with the one step `capture` if nothing else is said."""
        job_id = self.queued(priority=priority)
        with self.database.begin() as tx:
            assert jobs.plan(tx, job_id, planned or chain("capture"))
        return job_id

    def bind(
        self,
        job_id: str,
        step: str,
        key: str,
        *,
        parts: Mapping[str, Any] | None = None,
        priority: int = 5,
    ) -> Step:
        with self.database.begin() as tx:
            jobs.lock(tx, job_id)
            (found,) = (each for each in steps.of_job(tx, job_id) if each.name == step)
            return steps.bind(
                tx, found, key=key, inputs={"in": "0" * 64}, key_parts=parts or {}, queue="cpu",
                alone=False, priority=priority,
            )  # fmt: skip

    def ready(self, key: str = "k", *, priority: int = 5) -> str:
        """A job whose one step waits for `key`, which is ready."""
        job_id = self.running(priority=priority)
        self.bind(job_id, "capture", key, priority=priority)
        return job_id

    def leased(self, key: str = "k") -> tuple[str, int]:
        """The same, leased: the job and the attempt."""
        job_id = self.ready(key)
        return job_id, self.won(key).attempt

    def claim(self, key: str = "k", *, worker: str = "w1") -> Claim | None:
        with self.database.begin() as tx:
            return computations.claim(tx, key, worker=worker, ttl=self.ttl)

    def won(self, key: str = "k", *, worker: str = "w1") -> Claim:
        claim = self.claim(key, worker=worker)
        assert claim is not None
        return claim

    def heartbeat(
        self, attempt: int, key: str = "k", *, progress: float = 0.0, doing: str = "", log: Sequence[str] = ()
    ) -> Literal["go", "cancel", "lost"]:
        with self.database.begin() as tx:
            return computations.heartbeat(tx, key, attempt, ttl=self.ttl, progress=progress, doing=doing, log=log)

    def commit(self, attempt: int, key: str = "k") -> list[str] | None:
        made: dict[str, Any] = {"outputs": {"out": "c" * 64}, "report": {"flops": 7}, "seconds": 2.0}
        with self.database.begin() as tx:
            return computations.commit(tx, key, attempt, **made, peak_memory=1024)

    def fail(
        self, attempt: int, key: str = "k", *, retry_in: float | None = None, error: BurnishError | None = None
    ) -> list[str] | None:
        told = error or InternalError("It broke.", cure="Mend it.")
        with self.database.begin() as tx:
            return computations.fail(tx, key, attempt, error=told.document(), retry_in=retry_in)

    def release(self, attempt: int, key: str = "k") -> bool:
        with self.database.begin() as tx:
            return computations.release(tx, key, attempt)

    def reap(self) -> list[str]:
        with self.database.begin() as tx:
            return computations.reap(tx)

    def due(self, *, limit: int = 100, redispatch: float = 60.0) -> list[str]:
        with self.database.begin() as tx:
            return [due.key for due in ready.due(tx, limit, tx.now - redispatch)]

    def cancel(self, job_id: str) -> Job:
        with self.database.begin() as tx:
            return jobs.request_cancel(tx, job_id)

    def retry(self, job_id: str) -> Job:
        with self.database.begin() as tx:
            return jobs.retry(tx, job_id)

    def fail_job(self, job_id: str) -> bool:
        with self.database.begin() as tx:
            return jobs.fail(tx, job_id, InternalError("It broke.", cure="Mend it.").document())

    def succeed_job(self, job_id: str) -> bool:
        with self.database.begin() as tx:
            return jobs.succeed(tx, job_id, {"outcome": "improved"})

    def job(self, job_id: str) -> Job:
        with self.database.read() as tx:
            return jobs.get(tx, job_id)

    def steps(self, job_id: str) -> dict[str, Step]:
        with self.database.read() as tx:
            return {step.name: step for step in steps.of_job(tx, job_id)}

    def states(self, job_id: str) -> dict[str, str]:
        """The states of its steps, by name."""
        return {name: step.state for name, step in self.steps(job_id).items()}

    def computation(self, key: str = "k") -> Computation:
        with self.database.read() as tx:
            found = computations.get(tx, key)
        assert found is not None
        return found

    def events(self, job_id: str) -> list[Event]:
        with self.database.read() as tx:
            return events.of_job(tx, job_id, 0, 1000)

    def kinds(self, job_id: str) -> list[str]:
        return [event.kind for event in self.events(job_id)]
