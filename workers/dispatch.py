"""Rings the doorbells of what is due. Called after every commit that made something ready, and by the tick."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from burnish.errors import Unavailable
from burnish.recipe import JobSpec
from storage import computations, jobs
from storage.database import Database
from storage.doorbell import Doorbell

__all__ = ["REDISPATCH", "next_step", "ring_jobs", "ring_steps"]

logger = logging.getLogger(__name__)

REDISPATCH = 60.0
"""Seconds after which a doorbell that nobody answered is rung again."""
_AT_ONCE = 100


def ring_steps(database: Database, doorbell: Doorbell, redispatch: float = REDISPATCH) -> bool:
    """Rings for the computations that are due.

    Returns:
        False if the broker did not take it all: ring again, with `redispatch=0`, once it is back.
    """
    with database.begin() as tx:
        due = computations.due(tx, _AT_ONCE, redispatch)
    return _ring(doorbell, due)


def next_step(database: Database, doorbell: Doorbell, queues: Collection[str]) -> str | None:
    """For a worker whose slot has just come free: takes the most urgent ready step itself, and rings for the rest.

    That saves the way over the broker between two steps, and keeps to SQL's order whatever the broker still holds. A
    doorbell that was rung for the step before finds it taken.

    Returns:
        The key to claim, or `None` if nothing is ready on these queues.
    """
    with database.begin() as tx:
        first = computations.due(tx, 1, 0.0)
    ring_steps(database, doorbell)
    if not first or first[0].queue in queues:
        return first[0].key if first else None
    _ring(doorbell, first)
    return None


def ring_jobs(database: Database, doorbell: Doorbell, redispatch: float = REDISPATCH) -> bool:
    """Rings for the jobs that are to be planned, and for those that got stuck between two steps. Returns likewise."""
    with database.begin() as tx:
        found = [jobs.get(tx, job_id) for job_id in jobs.unplanned(tx, _AT_ONCE, redispatch)]
        found += [jobs.get(tx, job_id) for job_id in jobs.stuck(tx, _AT_ONCE)]
    try:
        for job in found:
            doorbell.plan(job.id, JobSpec.model_validate(job.spec).recipe.target.device, job.priority)
    except Unavailable as error:
        logger.warning("%s", error)
        return False
    return True


def _ring(doorbell: Doorbell, due: Iterable[computations.Due]) -> bool:
    try:
        for each in due:
            doorbell.step(each.key, each.queue, each.priority)
    except Unavailable as error:
        logger.warning("%s", error)
        return False
    return True
