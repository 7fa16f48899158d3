"""Schedules: jobs that are submitted again and again."""

from __future__ import annotations

from collections.abc import Callable

from apiflask import APIBlueprint
from flask import Response, request

from api.bodies import json_of
from api.idempotency import body_hash, remember, replayed
from api.job_actions import ring
from api.paging import PageQuery, page
from api.replies import reply
from api.schedule_check import changed_schedule, new_schedule
from api.services import services
from api.standing import firing_resource, schedule_resource
from burnish.errors import Conflict
from burnish.resources import FiringResource, Page, ScheduleResource
from storage import firings, jobs, schedules
from storage.database import Transaction
from storage.firing import Cause, fire
from storage.records import Job
from storage.schedules import Schedule

__all__ = ["blueprint"]

blueprint = APIBlueprint("schedules", __name__, url_prefix="/v1")


@blueprint.post("/schedules")
@blueprint.output(ScheduleResource, 201)
@blueprint.doc(
    responses={400: "Not JSON.", 409: "The key was used before.", 415: "Not sent as JSON.",
               422: "The schedule or its job has faults: all of them are listed, each with its path."},
    extensions={"x-body": {"application/json": "ScheduleSpec"}},
)  # fmt: skip
def create_schedule() -> Response:
    """Make a schedule

    Its job is checked as one that is submitted now. It counts from this moment on.
    """
    document, raw = json_of(request)
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(raw))
        if again:
            return again
        shown = schedule_resource(tx, schedules.create(tx, new_schedule(tx, document)))
        return remember(tx, reply(shown, 201, headers={"Location": shown.links["self"]}))


@blueprint.get("/schedules")
@blueprint.input(PageQuery, location="query")
@blueprint.output(Page[ScheduleResource])
def list_schedules(query_data: PageQuery) -> Response:
    """List schedules, newest first"""
    with services().database.read() as tx:
        return reply(
            page(
                lambda limit: schedules.list_(tx, after=query_data.cursor, limit=limit),
                lambda schedule: schedule_resource(tx, schedule),
                query_data.limit,
            )
        )


@blueprint.get("/schedules/<id>")
@blueprint.output(ScheduleResource)
@blueprint.doc(responses={404: "No such schedule."})
def get_schedule(id: str) -> Response:
    """Get one schedule

    In place of the id, its name will do; so in all addresses of schedules.
    """
    with services().database.read() as tx:
        return reply(schedule_resource(tx, schedules.get(tx, id)))


@blueprint.patch("/schedules/<id>")
@blueprint.output(ScheduleResource)
@blueprint.doc(
    responses={400: "Not JSON.", 404: "No such schedule.", 409: "The name was taken meanwhile.",
               415: "Not sent as JSON.", 422: "It would have faults: all of them are listed, each with its path."},
    extensions={"x-body": {"application/json": "ScheduleChange"}},
)  # fmt: skip
def change_schedule(id: str) -> Response:
    """Change a schedule

    Each member that is sent takes the place of the one before, whole. With another trigger, model, dataset or device
    it counts from now.
    """
    document, _ = json_of(request)
    with services().database.begin() as tx:
        found = schedules.get(tx, id)
        changed = schedules.change(tx, found.id, changed_schedule(tx, found, document))
        return reply(schedule_resource(tx, changed))


@blueprint.delete("/schedules/<id>")
@blueprint.doc(responses={204: "It is gone.", 404: "No such schedule."})
def delete_schedule(id: str) -> Response:
    """Delete a schedule and its history

    The jobs that it made stay, and promote nothing any more.
    """
    with services().database.begin() as tx:
        schedules.remove(tx, id)
    return Response(status=204)


@blueprint.post("/schedules/<id>/pause")
@blueprint.output(ScheduleResource)
@blueprint.doc(responses={404: "No such schedule."})
def pause_schedule(id: str) -> Response:
    """Pause a schedule

    It fires no more until it is resumed, other than by hand. A job that runs goes on.
    """
    return _switch(id, schedules.pause)


@blueprint.post("/schedules/<id>/resume")
@blueprint.output(ScheduleResource)
@blueprint.doc(responses={404: "No such schedule.", 409: "Parts of it can't be read."})
def resume_schedule(id: str) -> Response:
    """Resume a schedule

    From now on: what was due while it was paused is not caught up.
    """
    return _switch(id, schedules.resume)


@blueprint.post("/schedules/<id>/run")
@blueprint.output(FiringResource, 202)
@blueprint.doc(responses={404: "No such schedule.", 409: "It is being fired at this moment, or can't be read in part."})
def run_schedule(id: str) -> Response:
    """Fire a schedule now

    Paused or not; the overlap policy holds, so the answer may say that it was skipped, and why. What is due later stays
    due.
    """
    job: Job | None = None
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(id))
        if again:
            return again
        schedule = schedules.get(tx, id)
        schedule.read()
        if not schedules.take(tx, schedule):
            raise Conflict(f"Schedule {schedule.name} is being changed or fired at this moment.", cure="Try again.")
        firing = fire(tx, schedule, Cause("manual", "It was run by hand."))
        if firing.job_id is not None:
            job = jobs.get(tx, firing.job_id)
        response = remember(tx, reply(firing_resource(firing), 202))
    if job is not None:
        ring(services(), job)
    return response


@blueprint.get("/schedules/<id>/history")
@blueprint.input(PageQuery, location="query")
@blueprint.output(Page[FiringResource])
@blueprint.doc(responses={404: "No such schedule."})
def schedule_history(id: str, query_data: PageQuery) -> Response:
    """List every time a schedule was due, newest first

    With the reason why it fired or was skipped, the job, and what became of the champion.
    """
    with services().database.read() as tx:
        found = schedules.get(tx, id)
        return reply(
            page(
                lambda limit: firings.of_schedule(tx, found.id, after=query_data.cursor, limit=limit),
                firing_resource,
                query_data.limit,
            )
        )


def _switch(id: str, action: Callable[[Transaction, str], Schedule]) -> Response:
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(id))
        return again or remember(tx, reply(schedule_resource(tx, action(tx, id))))
