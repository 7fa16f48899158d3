"""The history of a job, whole, as NDJSON (one event a line): streamed in batches, so its length does not matter."""

from __future__ import annotations

from collections.abc import Iterator

from api.documents import event_resource
from api.services import Services
from storage import events

__all__ = ["MIMETYPE", "export"]

MIMETYPE = "application/x-ndjson"
_BATCH = 500


def export(services: Services, job_id: str, after: int, newest: int) -> Iterator[str]:
    """Events with ids above `after`, up to `newest`. Each batch is read in a transaction of its own: a slow client
    holds none."""
    while after < newest:
        with services.database.read() as tx:
            batch = events.of_job(tx, job_id, after, min(_BATCH, newest - after))
        if not batch:
            return  # removed meanwhile
        yield "".join(f"{event_resource(event).model_dump_json()}\n" for event in batch)
        after = batch[-1].id
