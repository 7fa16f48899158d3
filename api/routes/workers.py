"""Live workers."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from api.documents import worker_resource
from api.replies import reply
from api.services import services
from burnish.resources import Page, WorkerResource
from storage import workers

__all__ = ["blueprint"]

blueprint = APIBlueprint("workers", __name__, url_prefix="/v1")


@blueprint.get("/workers")
@blueprint.output(Page[WorkerResource])
def list_workers() -> Response:
    """List workers that gave a sign of life in the last minute"""
    with services().database.read() as tx:
        running = workers.running(tx)
        items = tuple(worker_resource(row, running.get(row.id, ())) for row in workers.live(tx))
    return reply(Page[WorkerResource](items=items))
