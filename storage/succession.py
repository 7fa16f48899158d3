"""What a worker runs next: the most urgent step that is ready is claimed without waiting for anybody.

So it can be done in the transaction that ends the step before, which holds rows of other jobs. The order of locks
(`storage/bindings.py`) does not matter to whoever never waits: rows that somebody else holds are passed over.

1. The computation's row is locked first. Whoever binds a job to it has to lock that row too, so the steps that are
   bound to it are known from then on.
2. Then the rows of their jobs. If one of them is held by somebody else, nothing is claimed: the caller is told, and
   claims it in a transaction of its own, which waits (`computations.claim`).

The order of turns (`storage/turns.py`) is that of doorbells: the first by turn is taken, whichever job it is of, so
priorities and ageing hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, func, select

from storage import computations
from storage.computations import IS_READY
from storage.database import Transaction
from storage.records import Claim, from_row
from storage.steps import Waiting
from storage.tables import computations as table
from storage.tables import jobs, steps

__all__ = ["Found", "Taken", "Taker", "take", "take_next"]


class Taken(NamedTuple):
    """A lease that was won."""

    claim: Claim
    waiting: list[Waiting]
    """The steps that wait for it, the one of the oldest job first."""


class Found(NamedTuple):
    """What came of looking: one of the two, or neither if nothing is ready."""

    taken: Taken | None
    left: str | None
    """Key of what is ready, but was not to be had just now."""


_SEEN = [table.c[name] for name in Claim.__dataclass_fields__]
_OPEN = (
    select(*_SEEN)
    .where(IS_READY, table.c.run_after <= bindparam("now"), table.c.queue.in_(bindparam("queues", expanding=True)))
    .with_for_update(key_share=True, skip_locked=True)
)
_MOST_URGENT = _OPEN.order_by(table.c.turn).limit(1)
_THIS = _OPEN.where(table.c.key == bindparam("at"))
_WAITS = (steps.c.key == bindparam("at"), steps.c.state.in_(("ready", "leased")))
_ALL = select(func.count()).select_from(steps).where(*_WAITS).scalar_subquery()
_WAITING = (
    select(steps.c.job_id, steps.c.name, jobs.c.traceparent, _ALL.label("all"))
    .join(jobs, jobs.c.id == steps.c.job_id)
    .where(*_WAITS)
    .order_by(steps.c.job_id, steps.c.position)
    .with_for_update(key_share=True, skip_locked=True, of=jobs)
)


class Taker(NamedTuple):
    """Who looks."""

    worker: str
    queues: tuple[str, ...]
    ttl: float
    """Seconds that a lease lasts."""
    fits: Callable[[Claim], bool]
    """Whether the worker would compute the same key; what does not fit is left."""


def take_next(tx: Transaction, taker: Taker) -> Found:
    """Claims the most urgent step that is ready on the worker's queues."""
    return _take(tx, _MOST_URGENT, {}, taker)


def take(tx: Transaction, key: str, taker: Taker) -> Found:
    """The same with one step, if it is ready."""
    return _take(tx, _THIS, {"at": key}, taker)


def _take(tx: Transaction, wanted: Select[Any], which: Mapping[str, str], taker: Taker) -> Found:
    place = {"now": tx.now, "queues": taker.queues}
    row = tx.execute(wanted, {**place, **which}).first()
    if row is None:
        return Found(None, None)
    seen = from_row(Claim, row)
    waiting = tx.execute(_WAITING, {"at": seen.key}).all() if taker.fits(seen) else []
    if not waiting or len(waiting) < waiting[0].all:
        return Found(None, seen.key)
    claim = computations.lease(tx, seen, worker=taker.worker, ttl=taker.ttl)
    return Found(Taken(claim, [Waiting(each.job_id, each.name, each.traceparent) for each in waiting]), None)
