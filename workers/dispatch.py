"""Rings the doorbells of what is due. Called after every commit that made something ready, and by the tick."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from burnish.errors import Unavailable
from burnish.recipe import JobSpec
from storage import jobs, ready, succession
from storage.database import Database, Transaction
from storage.doorbell import Doorbell
from storage.succession import Found, Taker

__all__ = ["AT_ONCE", "REDISPATCH", "Following", "following", "ring", "ring_jobs", "ring_steps"]

logger = logging.getLogger(__name__)

REDISPATCH = 60.0
"""Seconds after which a doorbell that nobody answered is rung again."""
AT_ONCE = 100
"""Most doorbells that are rung after one transaction; the tick rings the rest."""


def ring_steps(database: Database, doorbell: Doorbell, redispatch: float = REDISPATCH) -> bool:
    """Rings for the computations that are due.

    Returns:
        False if the broker did not take it all: ring again, with `redispatch=0`, once it is back.
    """
    with database.begin() as tx:
        due = ready.due(tx, AT_ONCE, redispatch)
    return ring(doorbell, due)


@dataclass(frozen=True)
class Following:
    """What a worker whose slot comes free finds."""

    found: Found
    due: list[ready.Due]
    """Whose doorbells are to be rung once the transaction is committed."""


def following(tx: Transaction, taker: Taker | None) -> Following:
    """For a worker whose slot has just come free: claims the most urgent ready step (unless there is no `taker`: the
    worker takes nothing new), and finds the rest, for others. Waits for no locks.

    That saves the way over the broker between two steps, and keeps to SQL's order whatever the broker still holds. A
    doorbell that was rung for the step before finds it taken.
    """
    found = succession.take_next(tx, taker) if taker else Found(None, None)
    return Following(found, ready.due(tx, AT_ONCE, REDISPATCH))


def ring_jobs(database: Database, doorbell: Doorbell, redispatch: float = REDISPATCH) -> bool:
    """Rings for the jobs that are to be planned, and for those that got stuck between two steps. Returns likewise."""
    with database.begin() as tx:
        found = [jobs.get(tx, job_id) for job_id in jobs.unplanned(tx, AT_ONCE, redispatch)]
        found += [jobs.get(tx, job_id) for job_id in jobs.stuck(tx, AT_ONCE)]
    try:
        for job in found:
            doorbell.plan(job.id, JobSpec.model_validate(job.spec).recipe.target.device, job.priority)
    except Unavailable as error:
        logger.warning("%s", error)
        return False
    return True


def ring(doorbell: Doorbell, due: Iterable[ready.Due]) -> bool:
    """Publishes these. False if the broker did not take them all."""
    try:
        for each in due:
            doorbell.step(each.key, each.queue, each.priority)
    except Unavailable as error:
        logger.warning("%s", error)
        return False
    return True
