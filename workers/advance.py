"""Moves a job on: binds the steps whose inputs are known, and ends the job when nothing is left to do.

One call takes a job as far as it goes. A step that is in the cache is done at once and frees the next, so an identical
job runs from its first step to its verdict in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from burnish.errors import Unavailable
from burnish.recipe import JobSpec
from storage import datasets, jobs, models, steps
from storage.database import Transaction
from storage.records import Job, Step
from workers.binding import Bound, LeftOut, bound, settled
from workers.failure import error_of
from workers.keys import Key, KeyMaker
from workers.outcome import verdict_of
from workers.planner import plan

__all__ = ["advance", "advance_all", "take_up"]

logger = logging.getLogger(__name__)


def take_up(tx: Transaction, job_id: str, keys: KeyMaker) -> None:
    """Plans a queued job, and takes a running one as far as it goes.

    Raises:
        NotFound: there is no such job.
    """

    def start() -> None:
        if job.state == "queued":
            model, dataset = models.get(tx, job.model_id), datasets.get(tx, job.dataset_id)
            jobs.plan(tx, job_id, plan(job, parameters=model.signature["parameters"], samples=dataset.samples))
        advance(tx, job_id, keys)

    job = jobs.lock(tx, job_id)
    _or_fail(tx, job_id, start)


def advance_all(tx: Transaction, job_ids: Iterable[str], keys: KeyMaker) -> None:
    """`advance` for several jobs, in the one order that all processes lock them in. A job that can't be advanced for a
    fault of ours fails; the others go on."""
    for job_id in sorted(job_ids):
        _or_fail(tx, job_id, lambda job_id=job_id: advance(tx, job_id, keys))  # type: ignore[misc]


def _or_fail(tx: Transaction, job_id: str, work: Callable[[], None]) -> None:
    with tx.savepoint() as undo:
        try:
            work()
        except Unavailable:
            raise
        except Exception as error:
            logger.exception("Job %s can't be advanced", job_id)
            undo()
            jobs.fail(tx, job_id, error_of(error))


def advance(tx: Transaction, job_id: str, keys: KeyMaker) -> None:
    """Takes a running job as far as it goes; does nothing to a job in any other state. Safe to call at any time.

    What became ready is found by `storage.computations.due` after the commit.
    """
    job = jobs.lock(tx, job_id)
    if job.state != "running":
        return
    while True:
        every = {step.name: step for step in steps.of_job(tx, job_id)}
        if (failed := _fatal(every.values())) is not None:
            jobs.fail(tx, job_id, {**(failed.error or {}), "step": failed.name})
            return
        if all(step.state in ("done", "failed", "canceled") for step in every.values()):
            original_size = models.get(tx, job.model_id).size
            verdict = verdict_of(JobSpec.model_validate(job.spec), every, original_size)
            jobs.succeed(tx, job_id, verdict.model_dump(mode="json"))
            return
        free = [step for step in every.values() if step.state == "waiting" and settled(step, every)]
        if not _bind(tx, job, [(step, bound(step, every)) for step in free], keys):
            return


def _fatal(every: Iterable[Step]) -> Step | None:
    return next((step for step in every if step.state == "failed" and not step.optional), None)


def _bind(tx: Transaction, job: Job, found: list[tuple[Step, Bound | LeftOut]], keys: KeyMaker) -> bool:
    """Whether one of them has ended thereby: left out, or answered from the cache."""
    ended = False
    ready: list[tuple[Key, Step, Bound]] = []
    for step, what in found:
        if isinstance(what, LeftOut):
            steps.skip(tx, step, what.reason)
            ended = True
        else:
            ready.append((keys.key(step.op, what.spec, what.inputs), step, what))
    for key, step, what in sorted(ready, key=lambda each: each[0].digest):  # the order that avoids deadlocks
        now = steps.bind(
            tx,
            replace(step, spec=what.spec),
            key=key.digest,
            inputs=what.inputs,
            key_parts=key.parts,
            queue=step.queue,
            environment=None,  # whether a worker may run it, its own computation of the key decides
            alone=key.alone,
            priority=job.priority,
            since=job.created_at,
        )
        ended = ended or now.state == "done"
    return ended
