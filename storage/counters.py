"""Running sums that metrics are read from: their cost at a scrape does not grow with the history.

A transaction notes what it counts (`Transaction.count`); at its end, just before the commit, all of it is written in
one statement. Rules:

1. A sum is spread over `_SHARDS` rows, and a transaction takes one of them: two that end at once seldom wait for each
   other. It writes its rows in the order of their keys, so that they never wait in a circle.
2. What a savepoint took back was not counted; what was rolled back neither.
3. What happens too often for a transaction each is observed in a `Tally`, and written with another transaction.
4. Of jobs and computations only those that ended are summed here (`jobs`, `computations`); the others are few, and
   counted by an index.
"""

from __future__ import annotations

import json
import random
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Literal

from sqlalchemy import func, select

from storage.tables import counters

if TYPE_CHECKING:
    from storage.database import Transaction

__all__ = ["BOUNDS", "Counts", "Name", "Tally", "observe", "totals", "write"]

Name = Literal[
    "jobs", "computations", "cache_hits", "cache_misses", "lease_losses", "step_retries", "step_seconds",
    "firings", "firing_lateness", "deliveries", "delivery_retries", "worker_calls",
]  # fmt: skip
Counts = dict[tuple[Name, tuple[str, ...]], float]
"""Name and label values → what is to be added."""

BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0)
"""Upper bounds of the buckets of `observe`, in seconds; one more without a bound lies above."""
_SHARDS = 16


def observe(tx: Transaction, name: Name, label: str, seconds: float) -> None:
    """Counts a duration into its bucket (label values: `label`, index of the bucket) and the sum (`label`, `sum`)."""
    for labels, by in _parts(label, seconds):
        tx.count(name, *labels, by=by)


class Tally:
    """Durations that a process has observed and not yet written. Safe to share by threads."""

    def __init__(self) -> None:
        self._counts: Counts = {}
        self._lock = threading.Lock()

    def observe(self, name: Name, label: str, seconds: float) -> None:
        """As `counters.observe`."""
        with self._lock:
            for labels, by in _parts(label, seconds):
                self._counts[name, labels] = self._counts.get((name, labels), 0.0) + by

    @contextmanager
    def writing(self, transaction: AbstractContextManager[Transaction]) -> Iterator[Transaction]:
        """The transaction, which counts at its end what was observed; if it fails, that is kept for the next."""
        with self._lock:
            taken, self._counts = self._counts, {}
        try:
            with transaction as tx:
                yield tx
                for (name, labels), by in taken.items():
                    tx.count(name, *labels, by=by)
        except BaseException:
            with self._lock:
                for key, by in taken.items():
                    self._counts[key] = self._counts.get(key, 0.0) + by
            raise


def _parts(label: str, seconds: float) -> tuple[tuple[tuple[str, str], float], ...]:
    return ((label, str(bisect_left(BOUNDS, seconds))), 1.0), ((label, "sum"), seconds)


def totals(tx: Transaction) -> dict[Name, dict[tuple[str, ...], float]]:
    """All sums: by name, then by label values."""
    summed = select(counters.c.name, counters.c.labels, func.sum(counters.c.value).label("value"))
    found: dict[Name, dict[tuple[str, ...], float]] = {}
    for row in tx.execute(summed.group_by(counters.c.name, counters.c.labels)):
        found.setdefault(row.name, {})[tuple(json.loads(row.labels))] = float(row.value)
    return found


def write(tx: Transaction, counts: Mapping[tuple[Name, tuple[str, ...]], float]) -> None:
    """Adds what a transaction counted; the last thing it does."""
    shard = 0 if tx.single_writer else random.randrange(_SHARDS)
    rows = sorted((name, json.dumps(labels), value) for (name, labels), value in counts.items() if value)
    if rows:
        tx.add_to(
            counters,
            [{"name": name, "labels": labels, "shard": shard, "value": value} for name, labels, value in rows],
            column="value",
        )
