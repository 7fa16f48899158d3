"""Moves a job on: binds the steps whose inputs are known, and ends the job when nothing is left to do.

One call takes a job as far as it goes. A step that is in the cache is done at once and frees the next, so an identical
job runs from its first step to its verdict in one transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from burnish.errors import Unavailable
from storage import datasets, firings, jobs, models, steps
from storage.database import Transaction
from storage.records import Job, Step
from storage.steps import PlannedStep
from workers.binding import Bound, LeftOut, bound, settled
from workers.contest import contest_of
from workers.failure import error_of_job
from workers.job_spec import spec_of
from workers.keys import Key, KeyMaker
from workers.outcome import verdict_of
from workers.planner import more_steps, plan
from workers.promotion_settling import settle
from workers.promotion_steps import face_off, is_face_off, remeasurement

__all__ = ["advance", "advance_all", "take_up"]

logger = logging.getLogger(__name__)


def take_up(tx: Transaction, job_id: str, keys: KeyMaker) -> None:
    """Plans a queued job, and takes a running one as far as it goes.

    Raises:
        NotFound: there is no such job.
    """

    def start() -> None:
        if job.state == "queued":
            contest = contest_of(firings.of_job(tx, job_id))
            again = contest.champion if contest and contest.remeasures else None
            jobs.plan(tx, job_id, remeasurement(job, again) if again else plan(job, _students(tx, job)))
        advance(tx, job_id, keys)

    job = jobs.lock(tx, job_id)
    _or_fail(tx, job_id, start)


def advance_all(tx: Transaction, job_ids: Iterable[str], keys: KeyMaker) -> None:
    """`advance` for several jobs, in the one order that all processes lock them in. A job that can't be advanced for a
    fault of ours fails; the others go on."""
    for job_id in sorted(job_ids):
        _or_fail(tx, job_id, lambda job_id=job_id: advance(tx, job_id, keys))  # type: ignore[misc]


def _or_fail(tx: Transaction, job_id: str, work: Callable[[], None]) -> None:
    undo = tx.mark()
    try:
        work()
    except Unavailable:
        raise
    except Exception as error:
        logger.exception("Job %s can't be advanced", job_id)
        undo()
        jobs.fail(tx, job_id, error_of_job(error))


def advance(tx: Transaction, job_id: str, keys: KeyMaker) -> None:
    """Takes a running job as far as it goes; does nothing to a job in any other state. Safe to call at any time.

    What became ready is found by `storage.ready.due` after the commit.
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
            if _ended(tx, job, every):
                return
            continue
        free = [step for step in every.values() if step.state == "waiting" and settled(step, every)]
        if not _bind(tx, job, [(step, bound(step, every)) for step in free], keys):
            return


def _students(tx: Transaction, job: Job) -> dict[str, str]:
    """Digests of the models that the job's passes read besides its own, by id."""
    named = (settings.wants_student() for settings in spec_of(job).recipe.passes)
    return {ref: models.get(tx, ref).digest for ref in named if ref is not None}


def _ended(tx: Transaction, job: Job, every: Mapping[str, Step]) -> bool:
    """Ends a job whose steps have all ended, or gives it more steps."""
    firing = firings.of_job(tx, job.id)
    contest = contest_of(firing)
    more: list[PlannedStep] = []
    if not is_face_off(every) and not (contest and contest.remeasures):
        more = more_steps(job, every, datasets.get(tx, job.dataset_id).samples)
    if not more:
        verdict = verdict_of(spec_of(job), every, models.get(tx, job.model_id).size)
        more = face_off(job, every, contest, verdict)
        if not more:
            if jobs.succeed(tx, job.id, verdict.model_dump(mode="json")):
                settle(tx, job, firing, verdict)
            return True
    jobs.extend(tx, job.id, more)
    return False


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
            alone=key.alone,
            priority=job.priority,
            since=job.created_at,
        )
        ended = ended or now.state == "done"
    return ended
