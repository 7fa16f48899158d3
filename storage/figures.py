"""Figures of the whole service for its metrics, at a cost that does not grow with the history.

What ended is summed up already (`storage/counters.py`); what has not is counted here, by the indexes of it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Select, func, literal, select

from storage import counters, workers
from storage.database import Transaction
from storage.tables import computations, deliveries, jobs, schedules, webhooks

__all__ = ["Durations", "Figures", "figures"]

_LIVE_JOBS = ("queued", "running", "canceling")
_ENDED_JOBS = ("succeeded", "failed", "canceled")
_LIVE = ("ready", "leased")
_ENDED = ("done", "failed", "canceled")
_ONCE: tuple[counters.Name, ...] = ("cache_hits", "cache_misses", "lease_losses", "delivery_retries")
"""Sums without labels."""
_OLDEST_DELIVERY = (
    select(func.min(deliveries.c.created_at))
    .join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
    .where(deliveries.c.state == literal("pending", literal_execute=True), webhooks.c.state == "enabled")
)


@dataclass(frozen=True)
class Durations:
    """How long something took, each time."""

    buckets: tuple[float, ...]
    """Times that were at most as long as each of `counters.BOUNDS`, and all of them: cumulative."""
    seconds: float
    """In all."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One moment of the service."""

    jobs: dict[str, float]
    """By state; every state is there."""
    computations: dict[tuple[str, str], float]
    """By state and queue; every state is there for each queue known."""
    queue_age: dict[str, float]
    """Seconds that the oldest ready computation of a queue has been waiting; 0 if none is."""
    workers: dict[str, int]
    """Live workers by queue; 0 for a queue that has computations and no worker."""
    step_seconds: dict[str, Durations]
    """Of steps that were done, by operation."""
    worker_calls: dict[str, Durations]
    """Of workers: statements (`sql`), and calls of the blob store by operation."""
    step_retries: dict[str, float]
    """By class of the error."""
    cache_hits: float
    cache_misses: float
    lease_losses: float
    firings: dict[str, float]
    """Of schedules, by what came of them: `fired` or `skipped`."""
    firing_lateness: dict[str, Durations]
    """From when a job was due by a schedule to when it was made, by `cron` and `every`."""
    overdue: float
    """Seconds that the schedule is late that has been due the longest; 0 if none is."""
    deliveries: dict[str, float]
    """To webhooks, by how they ended: `delivered` or `failed`."""
    delivery_retries: float
    delivery_age: float
    """Seconds that the oldest delivery to an enabled webhook has been on its way; 0 if none is."""


def figures(tx: Transaction) -> Figures:
    """All figures, of one snapshot if the transaction only reads."""
    sums = counters.totals(tx)
    computed = _computations(tx, sums.get("computations", {}))
    oldest = _oldest(tx)
    served = Counter(queue for row in workers.live(tx) for queue in set(row.queues))
    queues = sorted({*served, *(queue for _, queue in computed)})
    once = {name: sums.get(name, {}).get((), 0.0) for name in _ONCE}
    return Figures(
        jobs=_jobs(tx, sums.get("jobs", {})),
        computations={
            (state, queue): computed.get((state, queue), 0.0) for queue in queues for state in _LIVE + _ENDED
        },
        queue_age={queue: max(0.0, tx.now - oldest[queue]) if queue in oldest else 0.0 for queue in queues},
        workers={queue: served[queue] for queue in queues},
        step_seconds=_durations(sums.get("step_seconds", {})),
        worker_calls=_durations(sums.get("worker_calls", {})),
        step_retries={labels[0]: value for labels, value in sums.get("step_retries", {}).items()},
        firings={outcome: sums.get("firings", {}).get((outcome,), 0.0) for outcome in ("fired", "skipped")},
        firing_lateness=_durations(sums.get("firing_lateness", {})),
        overdue=_since(tx, select(func.min(schedules.c.next_at))),
        deliveries={state: sums.get("deliveries", {}).get((state,), 0.0) for state in ("delivered", "failed")},
        delivery_age=_since(tx, _OLDEST_DELIVERY),
        **once,
    )


def _since(tx: Transaction, moment: Select[tuple[float | None]]) -> float:
    """Seconds since a moment that was read; 0 if there is none, or it is still to come."""
    found = tx.execute(moment).scalar()
    return 0.0 if found is None else max(0.0, tx.now - found)


def _jobs(tx: Transaction, ended: dict[tuple[str, ...], float]) -> dict[str, float]:
    counted = (
        select(jobs.c.state, func.count().label("rows")).where(jobs.c.state.in_(_LIVE_JOBS)).group_by(jobs.c.state)
    )
    live = {row.state: float(row.rows) for row in tx.execute(counted)}
    return {state: live.get(state, 0.0) for state in _LIVE_JOBS} | {
        state: ended.get((state,), 0.0) for state in _ENDED_JOBS
    }


def _computations(tx: Transaction, ended: dict[tuple[str, ...], float]) -> dict[tuple[str, str], float]:
    found = {(labels[0], labels[1]): value for labels, value in ended.items()}
    for state in _LIVE:
        here = computations.c.state == literal(state, literal_execute=True)  # literally, so that a partial index fits
        counted = select(computations.c.queue, func.count().label("rows")).where(here).group_by(computations.c.queue)
        found |= {(state, row.queue): float(row.rows) for row in tx.execute(counted)}
    return found


def _oldest(tx: Transaction) -> dict[str, float]:
    """When the oldest ready computation of each queue became due."""
    ready = computations.c.state == literal("ready", literal_execute=True)
    since = select(computations.c.queue, func.min(computations.c.run_after).label("since"))
    return {row.queue: row.since for row in tx.execute(since.where(ready).group_by(computations.c.queue))}


def _durations(sums: dict[tuple[str, ...], float]) -> dict[str, Durations]:
    found: dict[str, Durations] = {}
    for label in sorted({labels[0] for labels in sums}):
        total, buckets = 0.0, []
        for index in range(len(counters.BOUNDS) + 1):
            total += sums.get((label, str(index)), 0.0)
            buckets.append(total)
        found[label] = Durations(tuple(buckets), sums.get((label, "sum"), 0.0))
    return found
