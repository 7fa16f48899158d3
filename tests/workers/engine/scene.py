"""A job whose steps a test ends by hand, one after the other."""

from __future__ import annotations

import hashlib
from typing import Any

from burnish.recipe import JobSpec
from storage import computations, datasets, jobs, models, steps
from storage.database import Database
from storage.records import Computation, Job, Step
from tests.acceptance.scripted import STEPS
from tests.acceptance.service import QUANTIZE
from workers.advance import advance_all, take_up
from workers.keys import KeyMaker

__all__ = ["Scene"]


class Scene:
    """Plays the workers: what they would compute is what the table says, at once."""

    def __init__(self, database: Database, keys: KeyMaker) -> None:
        self.database, self.keys = database, keys

    def submit(self, recipe: dict[str, Any] | None = None, model: str = "a" * 64, dataset: str = "b" * 64) -> str:
        """An accepted job."""
        spec = JobSpec.model_validate({"model": "m", "dataset": "d", "recipe": recipe or QUANTIZE})
        with self.database.begin() as tx:
            found = models.create(tx, name="m", digest=model, size=1000, signature={"parameters": 10})
            data = datasets.create(
                tx, name="d", digest=dataset, size=1, format="npz", schema={}, samples=8, labelled=False
            )
            return jobs.create(tx, spec=spec.model_dump(mode="json"), model=found, dataset=data, priority=5).id

    def take_up(self, job_id: str) -> None:
        """What a plan doorbell does."""
        with self.database.begin() as tx:
            take_up(tx, job_id, self.keys)

    def finish(self, job_id: str, *names: str, **report: Any) -> None:
        """Claims and commits these steps of a job."""
        for name in names:
            step = self.steps(job_id)[name]
            assert step.state == "ready", (name, step.state)
            table = STEPS[step.op]
            made = {role: _digest(f"{step.key} {role}") for role in table.outputs}  # type: ignore[attr-defined]
            told = {**table.report, **_figures(step), **report}  # type: ignore[attr-defined]
            with self.database.begin() as tx:
                claim = computations.claim(tx, str(step.key), worker="w", ttl=30)
                assert claim is not None
                ids = computations.commit(
                    tx, claim.key, claim.attempt, outputs={} if "refused" in report else made, report=told,
                    seconds=1.0, peak_memory=1,
                )  # fmt: skip
                advance_all(tx, ids or (), self.keys)

    def fail(self, job_id: str, name: str, code: str = "model.unsupported") -> None:
        """Claims a step and ends it with an error that is not retried."""
        step = self.steps(job_id)[name]
        error = {
            "code": code,
            "class": "user",
            "message": "It can't be treated.",
            "cure": "Leave it out.",
            "where": None,
        }
        with self.database.begin() as tx:
            claim = computations.claim(tx, str(step.key), worker="w", ttl=30)
            assert claim is not None
            ids = computations.fail(tx, claim.key, claim.attempt, error=error, retry_in=None)
            advance_all(tx, ids or (), self.keys)

    def run(self, job_id: str) -> None:
        """Finishes whatever is ready until nothing is."""
        while ready := [name for name, step in self.steps(job_id).items() if step.state == "ready"]:
            self.finish(job_id, ready[0])

    def job(self, job_id: str) -> Job:
        """As it stands."""
        with self.database.read() as tx:
            return jobs.get(tx, job_id)

    def steps(self, job_id: str) -> dict[str, Step]:
        """By name, as they stand."""
        with self.database.read() as tx:
            return {step.name: step for step in steps.of_job(tx, job_id)}

    def computation(self, key: str | None) -> Computation:
        """As it stands."""
        with self.database.read() as tx:
            found = computations.get(tx, str(key))
        assert found is not None
        return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _figures(step: Step) -> dict[str, Any]:
    if step.op != "measure":
        return {}
    names = ["eager", "compiled", *(each["name"] for each in step.spec["settings"]["contenders"])]
    return {"contenders": {name: {"load_seconds": 0.1} for name in names}}
