"""What happens to a job: as pages to poll, or as a stream."""

from __future__ import annotations

from typing import Literal

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import Field

from api.documents import event_resource
from api.errors import Refused
from api.export import MIMETYPE, export
from api.replies import reply
from api.services import services
from api.streams import stream
from burnish.document import Document
from burnish.resources import EventResource, Page
from storage import events, jobs
from storage.records import Job

__all__ = ["blueprint"]

blueprint = APIBlueprint("events", __name__, url_prefix="/v1")


class EventsQuery(Document):
    """Query of a job's events."""

    after: int = Field(0, ge=0)
    """Id of the last event seen."""
    limit: int = Field(100, ge=1, le=1000)
    """Events per page, at most."""
    format: Literal["json", "ndjson"] = "json"
    """`ndjson`: all of them up to now, one a line, without pages."""


@blueprint.get("/jobs/<id>/events")
@blueprint.input(EventsQuery, location="query")
@blueprint.output(Page[EventResource])
@blueprint.doc(
    responses={
        200: "Oldest first; `next` is the id to ask after. With `Accept: text/event-stream` a stream.",
        204: "To a stream that is resumed: the job is finished, and all its events were sent.",
    },
    extensions={
        "x-headers": ["Last-Event-ID"],
        "x-content": {
            "200": {
                "application/json": "EventResourcePage",
                "text/event-stream": "text",
                "application/x-ndjson": "text",
            },
            "204": {},
        },
    },
)
def list_events(id: str, query_data: EventsQuery) -> Response:
    """Get a job's events, or follow them as a stream

    With `Accept: text/event-stream` they are sent as they come, resumed by `Last-Event-ID`. Each process has 400
    streams open at most; over it the answer is a 503, and polling is the way. With `?format=ndjson` the whole history
    is sent, one event a line.
    """
    with services().database.read() as tx:
        job = jobs.get(tx, id)
        if request.accept_mimetypes.best == "text/event-stream":
            return _follow(job, query_data.after)
        if query_data.format == "ndjson":
            return _export(id, query_data.after, job.revision)
        found = events.of_job(tx, id, query_data.after, query_data.limit)
    items = tuple(event_resource(event) for event in found)
    full = len(items) == query_data.limit
    return reply(Page[EventResource](items=items, next=str(items[-1].id) if full else None))


def _export(id: str, after: int, newest: int) -> Response:
    slots = services().transfers
    slots.take()
    response = Response(export(services(), id, after, newest), mimetype=MIMETYPE)
    response.call_on_close(slots.give)
    response.headers["Content-Disposition"] = f'attachment; filename="{id}.ndjson"'
    return response


def _follow(job: Job, after: int) -> Response:
    resumed = request.headers.get("Last-Event-ID")
    if resumed is not None:
        after = _event_id(resumed)
        if job.finished_at is not None and after >= job.revision:
            return Response(status=204)  # what tells an EventSource to stop coming back
    slots = services().streams
    slots.take()
    response = Response(stream(services().feed, job, after), mimetype="text/event-stream")
    response.call_on_close(slots.give)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _event_id(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refused(400, f"Last-Event-ID {text!r} is not the id of an event.", cure="Send the last id, or none.")
    return int(text)
