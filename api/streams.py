"""A job's events as a server-sent event stream (WHATWG HTML, 9.2)."""

from __future__ import annotations

import time
from collections.abc import Iterator

from api.documents import event_resource
from api.job_actions import FINISHED
from api.services import Services
from storage import events, jobs
from storage.records import Event

__all__ = ["stream"]

_POLL_SECONDS = 0.4
_HEARTBEAT_SECONDS = 10.0
_LONGEST_SECONDS = 900.0
"""Then the stream ends, and the client comes back with `Last-Event-ID`: no client holds a slot for ever."""
_BATCH = 200


def stream(services: Services, job_id: str, after: int) -> Iterator[str]:
    """Events with ids above `after` as they come; a comment now and then, so that a dead client is noticed. Ends with
    an `end` event when the job is finished."""
    yield "retry: 2000\n\n"
    began = beat = time.monotonic()
    while not services.stopping.is_set() and time.monotonic() - began < _LONGEST_SECONDS:
        with services.database.read() as tx:
            state = jobs.get(tx, job_id).state
            batch = events.of_job(tx, job_id, after, _BATCH)
        for event in batch:
            yield _frame(event)
            after = event.id
        if len(batch) == _BATCH:
            continue
        if state in FINISHED:
            yield f'event: end\ndata: {{"state":"{state}"}}\n\n'
            return
        if batch or time.monotonic() - beat > _HEARTBEAT_SECONDS:
            beat = time.monotonic()
            if not batch:
                yield ": still there\n\n"
        services.stopping.wait(_POLL_SECONDS)


def _frame(event: Event) -> str:
    """JSON has no line breaks outside of escapes, so one `data` line holds it."""
    return f"id: {event.id}\nevent: {event.kind}\ndata: {event_resource(event).model_dump_json()}\n\n"
