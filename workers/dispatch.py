"""Rings the doorbells of what is due: once after the commit that made it so, and then by the tick, until it is taken.

A doorbell is a hint: whoever takes one looks in SQL for what is most urgent. So a queue that holds `FULL` of them needs
no more; without that bound a device class without workers would fill the broker for as long as it stays so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from burnish.errors import Unavailable
from storage import jobs, ready, succession
from storage.database import Database, Transaction
from storage.doorbell import Doorbell, plan_queue
from storage.succession import Found, Taker

__all__ = ["AT_ONCE", "FULL", "REDISPATCH", "Following", "following", "ring", "ring_jobs", "ring_steps"]

logger = logging.getLogger(__name__)

DueT = TypeVar("DueT")
REDISPATCH = 60.0
"""Seconds after which a doorbell that nobody answered is rung again."""
AT_ONCE = 100
"""Most doorbells that are rung after one transaction; the tick rings the rest."""
FULL = 10_000
"""Doorbells in one queue from which on the tick rings no more there: 11 MB in the broker."""
_A_ROUND = 500
"""Most doorbells of a kind that the tick rings in one round."""


def ring_steps(database: Database, doorbell: Doorbell, lost_at: float = -math.inf) -> bool:
    """Rings for the computations that are due, as far as their queues have room.

    Args:
        lost_at: when the broker lost what it held, by SQL's clock; what was rung before that is due.

    Returns:
        False if the broker did not take it all: it has lost some.
    """
    with database.begin() as tx:
        due = ready.due(tx, _A_ROUND, _rung_before(tx, lost_at))
    return ring(doorbell, _with_room(doorbell, due, lambda each: each.queue))


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
    return Following(found, ready.due(tx, AT_ONCE))


def ring_jobs(database: Database, doorbell: Doorbell, lost_at: float = -math.inf) -> bool:
    """Rings for the jobs that are to be planned, and for those that got stuck between two steps. Otherwise as
    `ring_steps`."""
    with database.begin() as tx:
        before = _rung_before(tx, lost_at)
        found = jobs.unplanned(tx, _A_ROUND, before) + jobs.stuck(tx, _A_ROUND, before)
    try:
        for job in _with_room(doorbell, found, lambda job: plan_queue(job.device)):
            doorbell.plan(job.id, job.device, job.priority)
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


def _rung_before(tx: Transaction, lost_at: float) -> float:
    return max(tx.now - REDISPATCH, lost_at)


def _with_room(doorbell: Doorbell, due: Iterable[DueT], queue_of: Callable[[DueT], str]) -> Iterator[DueT]:
    """Those in whose queue there is room. Raises `Unavailable`."""
    room: dict[str, int] = {}
    for each in due:
        queue = queue_of(each)
        if queue not in room:
            room[queue] = FULL - doorbell.waiting(queue)
        if room[queue] > 0:
            room[queue] -= 1
            yield each
