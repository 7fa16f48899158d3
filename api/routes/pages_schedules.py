"""The page of the schedules: when each fires next, what came of it last, and its history."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response, request

from api.formatting import seconds
from api.live_pages import live_fragment, live_page
from api.paging import page
from api.services import services
from api.standing import firing_resource, schedule_resource
from burnish.recipe import Trigger
from burnish.resources import FiringResource
from storage import firings, jobs, schedules
from storage.database import Transaction

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages_schedules", __name__, enable_openapi=False)

_PER_PAGE = 50
_HISTORY = 100
_OCCASIONS = {
    "model": "a new version of the model",
    "dataset": "new data",
    "worker_class": "a new class of worker",
    "toolchain": "a changed toolchain",
}


@blueprint.get("/schedules")
def schedules_page() -> Response:
    """All of them."""
    return live_page(**_all())


@blueprint.get("/schedules/fragment")
def schedules_fragment() -> Response:
    """What changes of that page."""
    return live_fragment(**_all())


@blueprint.get("/schedules/<id>")
def schedule_page(id: str) -> Response:
    """One with its history."""
    return live_page(**_one(id))


@blueprint.get("/schedules/<id>/fragment")
def schedule_fragment(id: str) -> Response:
    """What changes of that page."""
    return live_fragment(**_one(id))


def when(trigger: Trigger | None) -> str:
    """When a schedule fires, in words."""
    if trigger is None:
        return "not understood"
    if trigger.cron is not None:
        return f"{trigger.cron} ({trigger.timezone})"
    if trigger.every is not None:
        return f"every {seconds(trigger.every)}"
    return f"on {_OCCASIONS[str(trigger.on)]}"


def _all() -> dict[str, Any]:
    cursor = request.args.get("cursor") or None
    with services().database.read() as tx:
        found = page(
            lambda limit: schedules.list_(tx, after=cursor, limit=limit),
            lambda each: schedule_resource(tx, each),
            _PER_PAGE,
        )
        states = _states(tx, [each.last for each in found.items if each.last])
    return {
        "name": "schedules",
        "schedules": found.items,
        "next": found.next,
        "first": cursor is None,
        "states": states,
        "when": when,
        "unfinished": False,
        "fragment_url": "/schedules/fragment" + (f"?{request.query_string.decode()}" if cursor else ""),
        "here": "schedules",
    }


def _one(id: str) -> dict[str, Any]:
    with services().database.read() as tx:
        record = schedules.get(tx, id)
        shown = schedule_resource(tx, record)
        history = [firing_resource(each) for each in firings.of_schedule(tx, record.id, after=None, limit=_HISTORY)]
        states = _states(tx, history)
    return {
        "name": "schedule",
        "schedule": shown,
        "history": history,
        "states": states,
        "when": when,
        "most": _HISTORY,
        "unfinished": any(states.get(each.job or "") in ("queued", "running", "canceling") for each in history),
        "fragment_url": f"/schedules/{record.id}/fragment",
        "here": "schedules",
    }


def _states(tx: Transaction, history: list[FiringResource]) -> dict[str, str]:
    """States of the jobs that were fired."""
    return {each.job: jobs.get(tx, each.job).state for each in history if each.job}
