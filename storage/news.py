"""What is new of several jobs: one statement, whatever their number, for who follows all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import BigInteger, Row, Text, and_, bindparam, cast, func, select

from storage.database import Transaction
from storage.metadata import Json
from storage.records import Event, JobState, from_row
from storage.tables import events, jobs

__all__ = ["News", "since"]

# The jobs as one JSON parameter: the text of the statement stays the same, so it is compiled once. `json_each` gives
# its pairs as rows on SQLite and PostgreSQL alike; only the type of their values differs, which the casts even out.
# Both bounds of an event come from there, for PostgreSQL to find it in the index whatever the length of the history.
_SEEN = func.json_each(bindparam("seen", type_=Json)).table_valued("key", "value", name="seen")
_AFTER = cast(cast(_SEEN.c.value, Text), BigInteger)
_SINCE = (
    select(jobs.c.id.label("job"), jobs.c.state, jobs.c.finished_at, jobs.c.revision, events)
    .select_from(_SEEN)
    .join(jobs, jobs.c.id == _SEEN.c.key)
    .outerjoin(
        events,
        and_(
            events.c.job_id == _SEEN.c.key,
            events.c.id > _AFTER,
            events.c.id <= _AFTER + bindparam("most", type_=BigInteger),
        ),
    )
    .order_by(jobs.c.id, events.c.id)
)


@dataclass(frozen=True, kw_only=True)
class News:
    """Of one job, at one moment."""

    state: JobState
    finished_at: float | None
    revision: int
    """Id of its newest event, which is not among `events` if there are more than were asked for."""
    events: tuple[Event, ...]
    """Oldest first."""


def since(tx: Transaction, seen: Mapping[str, int], most: int) -> dict[str, News]:
    """News of each job in `seen`, with its events above that id, `most` of them at most. Jobs that don't exist are
    left out."""
    rows = tx.execute(_SINCE, {"seen": dict(seen), "most": most})
    return {job_id: _news([*of_job]) for job_id, of_job in groupby(rows, lambda row: row.job)}


def _news(rows: list[Row[Any]]) -> News:
    first = rows[0]
    found = tuple(from_row(Event, row) for row in rows if row.id is not None)
    return News(state=first.state, finished_at=first.finished_at, revision=first.revision, events=found)
