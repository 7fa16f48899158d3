"""What claim, list and poll cost at 1,000, 100,000 and 1,000,000 rows of history, with their query plans.

    python -m benchmarks.flat_cost [LARGEST]

A row of history is a done computation with its step, two events, a blob, and an eighth of an ended job with its model
and dataset. On top of it 50 jobs live. Each figure is the lower quartile of the time of a whole transaction, over 60.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event

from benchmarks.history_rows import PER_JOB, grow
from storage import blob_uses, computations, datasets, events, idempotency, jobs, models, nearest, ready, steps, workers
from storage.database import Database, Transaction
from storage.figures import figures
from storage.steps import PlannedStep
from tests.postgres import fresh_database, postgres

__all__ = ["main"]

_SIZES = (1_000, 100_000, 1_000_000)
_REPEATS = 60
_LIVE = 50
_LIMIT = 2.0
_FLOOR = 0.3e-3
"""Seconds: a difference below this is the noise of a shared machine, not a growing cost."""


def main(largest: int = _SIZES[-2]) -> None:
    """Prints the table and the plans, for both databases."""
    sizes = [size for size in _SIZES if size <= largest]
    for kind in ("postgresql", "sqlite"):
        with _database(kind) as database:
            _compare(kind, database, sizes)


@contextmanager
def _database(kind: str) -> Iterator[Database]:
    if kind == "postgresql":
        with postgres() as server, fresh_database(server) as url:
            yield from _migrated(url)
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield from _migrated(f"sqlite:///{Path(folder) / 'burnish.sqlite'}")


def _migrated(url: str) -> Iterator[Database]:
    database = Database(url)
    database.migrate()
    yield database
    database.close()


def _compare(kind: str, database: Database, sizes: list[int]) -> None:
    live = [_live(database, number) for number in range(_LIVE)]
    table: dict[str, list[float]] = {}
    filled = 0
    for size in sizes:
        began = time.perf_counter()
        grow(database, filled, size)
        filled = size
        print(f"{kind}: {size:,} rows of history after {time.perf_counter() - began:.0f} s more", flush=True)
        for name, call in _calls(live, filled).items():
            table.setdefault(name, []).append(_typical(database, call))
    print(f"\n{kind}, load {os.getloadavg()[0]:.1f}, ms" + "".join(f"{size:>12,}" for size in sizes) + "   growth")
    for name, seconds in table.items():
        growth = max(seconds) / seconds[0]
        flat = growth <= _LIMIT or max(seconds) - seconds[0] < _FLOOR
        cells = "".join(f"{1e3 * each:>12.2f}" for each in seconds)
        print(f"  {name:<28}{cells}   {growth:5.2f} {'' if flat else 'NOT FLAT'}")
    print(f"\n{kind}, plans at {sizes[-1]:,} rows")
    for name, call in _calls(live, filled).items():
        print(f"  {name}: {'; '.join(dict.fromkeys(_plans(database, call)))}")


def _live(database: Database, number: int) -> str:
    """A running job with a ready step; its key."""
    key = f"live{number:060}"
    with database.begin() as tx:
        model = models.create(tx, name="live", digest=f"{number:064}", size=1, signature={})
        dataset = datasets.create(
            tx, name="live", digest="e" * 64, size=1, format="npz", schema={}, samples=40, labelled=True
        )
        job = jobs.create(tx, spec={}, model=model, dataset=dataset, priority=5)
        spec: dict[str, Any] = {"settings": {}, "inputs": {}, "target": {}, "seed": 0}
        jobs.plan(tx, job.id, [PlannedStep(name="capture", op="capture", spec=spec, queue="cpu")])
    with database.begin() as tx:
        jobs.lock(tx, job.id)
        (step,) = steps.of_job(tx, job.id)
        steps.bind(tx, step, key=key, inputs={}, key_parts={"op": "capture"}, queue="cpu",
                   alone=False, priority=5)  # fmt: skip
    return key


def _calls(live: list[str], size: int) -> dict[str, Callable[[Transaction], object]]:
    """The queries that run often."""
    middle = f"job_0000{size // PER_JOB // 2:022}"
    key = live[0]

    def claimed(tx: Transaction) -> None:
        claim = computations.claim(tx, key, worker="w", ttl=30.0)
        assert claim is not None
        computations.release(tx, key, claim.attempt)

    return {
        "claim and release": claimed,
        "due": lambda tx: ready.due(tx, 100, tx.now),
        "reap": computations.reap,
        "unplanned": lambda tx: jobs.unplanned(tx, 100),
        "stuck": lambda tx: jobs.stuck(tx, 100),
        "list jobs": lambda tx: jobs.list_(tx, after=None, limit=50),
        "list jobs, middle page": lambda tx: jobs.list_(tx, after=middle, limit=50),
        "list jobs by state": lambda tx: jobs.list_(tx, after=None, limit=50, state="running"),
        "list failed jobs (none)": lambda tx: jobs.list_(tx, after=None, limit=50, state="failed"),
        "list jobs of a model": lambda tx: jobs.list_(tx, after=None, limit=50, model="live"),
        "list models": lambda tx: models.list_(tx, after=None, limit=50),
        "poll a job, unchanged": lambda tx: jobs.get(tx, middle),
        "poll a job, whole": lambda tx: (jobs.get(tx, middle), steps.of_job(tx, middle)),
        "poll events": lambda tx: events.of_job(tx, middle, 10, 100),
        "why a key missed": lambda tx: nearest.explain(tx, "capture", "new", {"op": "capture"}, None),
        "who refers to a blob": lambda tx: blob_uses.refers(tx, "b" * 64),
        "idempotency": lambda tx: idempotency.claim(tx, "scope", f"{time.time_ns()}", "h"),
        "live workers": workers.live,
        "metrics": figures,
    }


def _typical(database: Database, call: Callable[[Transaction], object]) -> float:
    """The lower quartile, which others that share the machine move least."""
    seconds = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        with database.begin() as tx:
            call(tx)
        seconds.append(time.perf_counter() - began)
    return statistics.quantiles(seconds)[0]


def _plans(database: Database, call: Callable[[Transaction], object]) -> list[str]:
    """What the planner says of every table that the call's statements read: by which index, or whole."""
    lines: list[str] = []
    lite = database._engine.dialect.name == "sqlite"

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if not statement.startswith(("SELECT", "UPDATE", "DELETE")):
            return
        asked = connection.connection.cursor()
        asked.execute(f"EXPLAIN {'QUERY PLAN ' if lite else ''}{statement}", parameters)
        rows = [str(row[3] if lite else row[0]).strip(" ->") for row in asked.fetchall()]
        lines.extend(
            row.partition("  (")[0] for row in rows if ("SCAN" in row if lite else " Scan" in row) or "SEARCH" in row
        )
        asked.close()

    event.listen(database._engine, "before_cursor_execute", explain)
    try:
        with database.begin() as tx:
            call(tx)
    finally:
        event.remove(database._engine, "before_cursor_execute", explain)
    return lines


if __name__ == "__main__":
    main(int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else _SIZES[-1])
