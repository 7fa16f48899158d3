"""No query that runs often reads a whole table: asked of SQLite's planner (PostgreSQL has the same indexes)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from storage import (
    aliases,
    blob_index,
    blob_uses,
    computations,
    datasets,
    deliveries,
    events,
    eviction,
    firings,
    idempotency,
    jobs,
    models,
    news,
    ready,
    removal,
    schedules,
    steps,
    workers,
)
from storage.blob_digest import Blob
from storage.database import Database, Transaction
from storage.figures import figures
from tests.storage.scene import Clock

CALLS: dict[str, Callable[[Transaction], object]] = {
    "due": lambda tx: ready.due(tx, 10),
    "reap": computations.reap,
    "unplanned": lambda tx: jobs.unplanned(tx, 10),
    "stuck": lambda tx: jobs.stuck(tx, 10),
    "list jobs": lambda tx: jobs.list_(tx, after="job_x", limit=10),
    "list jobs by state": lambda tx: jobs.list_(tx, after="job_x", limit=10, state="running"),
    "list jobs by model": lambda tx: jobs.list_(tx, after="job_x", limit=10, model="lenet"),
    "list jobs by outcome": lambda tx: jobs.list_(tx, after="job_x", limit=10, outcome="improved"),
    "what changes of a list": lambda tx: jobs.list_marks(tx, after="job_x", limit=10),
    "list models": lambda tx: models.list_(tx, after="mdl_x", limit=10),
    "list datasets": lambda tx: datasets.list_(tx, after="dst_x", limit=10),
    "resolve a model": lambda tx: models.create(tx, name="m", digest="a", size=1, signature={}),
    "news of several jobs": lambda tx: news.since(tx, {"job_x": 5, "job_y": 0}, 10),
    "events": lambda tx: events.of_job(tx, "job_x", 5, 10),
    "moves of steps": lambda tx: events.of_job(tx, "job_x", 5, 10, ("step.done", "step.leased")),
    "last lines": lambda tx: events.last_of_job(tx, "job_x", 10, ("log",)),
    "steps": lambda tx: steps.of_job(tx, "job_x"),
    "claim": lambda tx: computations.claim(tx, "k", worker="w", ttl=30.0),
    "heartbeat": lambda tx: computations.heartbeat(tx, "k", 1, ttl=30.0, progress=0.5, doing="x"),
    "live workers": workers.live,
    "running": workers.running,
    "figures": figures,
    "who waits": lambda tx: steps.bound_to(tx, "k"),
    "what refers to a blob": lambda tx: blob_uses.refers(tx, "a"),
    "what reads a blob": lambda tx: blob_uses.taken_in(tx, ["a"]),
    "hold a blob": lambda tx: blob_index.confirm(tx, blob_index.hold(tx, Blob(digest="a", size=1))),
    "blobs to remove": lambda tx: removal.removable(tx, before=1.0, limit=10),
    "evict": lambda tx: eviction.evict(tx, "k"),
    "disown": lambda tx: computations.disown(tx, "a", {}),
    "schedules that are due": schedules.due,
    "schedules that wait for news": schedules.waiting_for_news,
    "firings that waited": firings.freed,
    "history of a schedule": lambda tx: firings.of_schedule(tx, "sch_x", after="frg_x", limit=10),
    "the firing of a job": lambda tx: firings.of_job(tx, "job_x"),
    "an alias": lambda tx: aliases.find(tx, "net", "production"),
    "history of an alias": lambda tx: aliases.history(tx, "net", "production", after="als_x", limit=10),
    "deliveries of a webhook": lambda tx: deliveries.list_(tx, "whk_x", after="dlv_x", limit=10),
    "the next delivery of a webhook": lambda tx: deliveries.claim(tx, "whk_x"),
    "idempotency": lambda tx: idempotency.claim(tx, "jobs", "key", "body"),
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """SQLite, of which `plans` can be asked."""
    opened = Database(f"sqlite:///{tmp_path / 'plans.sqlite'}", Clock())
    opened.migrate()
    yield opened
    opened.close()


@pytest.fixture
def plans(database: Database) -> list[str]:
    """The planner's lines on every statement that is run from now on."""
    lines: list[str] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith(("SELECT", "UPDATE", "DELETE")):
            asked = connection.connection.cursor()
            asked.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            lines.extend(row[3] for row in asked.fetchall())
            asked.close()

    event.listen(database._engine, "before_cursor_execute", explain)
    return lines


@pytest.mark.parametrize("name", CALLS)
def test_a_query_searches_an_index(database: Database, plans: list[str], name: str) -> None:
    with database.begin() as tx:
        CALLS[name](tx)
    assert plans
    whole = (line for line in plans if line.startswith("SCAN") and "INDEX" not in line)
    assert [line for line in whole if line != "SCAN CONSTANT ROW"] == []


def test_the_queue_is_read_in_the_order_of_its_index(database: Database, plans: list[str]) -> None:
    with database.begin() as tx:
        ready.due(tx, 10)
    assert "ix_computations_due" in plans[0]
    assert not any("TEMP B-TREE" in line for line in plans)
