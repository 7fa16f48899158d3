"""The page of one job: verdict, candidates, layers, steps and log; cancel and retry."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from apiflask import APIBlueprint
from flask import Response, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from api.documents import event_resource
from api.job_actions import FINISHED, ring, whole
from api.layers import layers_of
from api.live_pages import live_fragment, live_page
from api.replies import unchanged
from api.result_plots import METRICS, pareto, spread
from api.services import services
from api.timeline import MOVES, timeline
from burnish.resources import JobResource
from burnish.results import Candidate, Verdict
from storage import events, jobs
from storage.events import Kind

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages_job", __name__, enable_openapi=False)

_LINES = 200
"""Of the log, that the page begins with; it grows from there."""
_LOGGED: tuple[Kind, ...] = tuple(kind for kind in events.KINDS if kind != "step.progress")
"""Progress is shown by the bars, and would drown the log."""


@blueprint.get("/jobs/<id>")
def job(id: str) -> Response:
    """One job."""
    with services().database.read() as tx:
        lines = events.last_of_job(tx, id, _LINES, _LOGGED)
    return live_page(**_job(id), lines=[event_resource(line) for line in lines])


@blueprint.get("/jobs/<id>/fragment")
def fragment(id: str) -> Response:
    """What changes of that page. A job that has not changed is not even read whole."""
    with services().database.read() as tx:
        etag = f"{id}.{jobs.version(tx, id)}"
    return unchanged(etag) or live_fragment(**_job(id))


@blueprint.get("/jobs/<id>/log")
def log(id: str) -> Response:
    """The lines of the log after `?after=`, as the page has them."""
    after = request.args.get("after", 0, int)
    with services().database.read() as tx:
        jobs.version(tx, id)
        found = events.of_job(tx, id, max(after, 0), 1000, _LOGGED)
    body = render_template("log_lines.html", lines=[event_resource(line) for line in found])
    response = Response(body, mimetype="text/html")
    response.headers["Cache-Control"] = "private, no-store"
    return response


@blueprint.post("/jobs/<id>/cancel")
def cancel(id: str) -> BaseResponse:
    """Cancels, then shows the job again."""
    with services().database.begin() as tx:
        jobs.request_cancel(tx, id)
    return redirect(f"/jobs/{id}", 303)


@blueprint.post("/jobs/<id>/retry")
def retry(id: str) -> BaseResponse:
    """Runs it again, then shows the job."""
    with services().database.begin() as tx:
        again = jobs.retry(tx, id)
    ring(services(), again)
    return redirect(f"/jobs/{id}", 303)


def _job(id: str) -> dict[str, Any]:
    variant = request.args.get("layers")
    with services().database.read() as tx:
        record = jobs.get(tx, id)
        shown = whole(tx, record)
        moves = events.of_job(tx, id, 0, 20_000, MOVES)
    return {
        "name": "job",
        "here": "jobs",
        "job": shown,
        "target": shown.spec.recipe.target,
        "timeline": timeline(shown, moves, time.time()),
        "layers": layers_of(shown, variant),
        "unfinished": shown.state not in FINISHED,
        "fragment_url": f"/jobs/{id}/fragment" + (f"?{urlencode({'layers': variant})}" if variant else ""),
        "etag": f"{id}.{record.revision}",
        **(_result(shown, shown.verdict) if shown.verdict else {}),
    }


def _result(job: JobResource, verdict: Verdict) -> dict[str, Any]:
    return {
        "pareto": pareto(verdict),
        "spread": spread(verdict),
        "shown": _shown(verdict),
        "basis": _basis(verdict),
        "owners": _owners(verdict),
    }


def _shown(verdict: Verdict) -> list[tuple[str, Candidate]]:
    """The columns of the first table: the original, and what is handed back or came nearest."""
    named = {candidate.name: candidate for candidate in verdict.candidates}
    originals = [(name.capitalize(), named[name]) for name in ("eager", "compiled") if name in named]
    if verdict.chosen in named:
        return [("Chosen", named[verdict.chosen]), *originals]
    others = [c for c in verdict.candidates if c.latency and not c.refused and c.name not in ("eager", "compiled")]
    quickest = min(others, key=lambda c: c.latency.median.value if c.latency else float("inf"), default=None)
    return [*originals, *([("Fastest candidate", quickest)] if quickest else [])]


def _owners(verdict: Verdict) -> dict[str, str]:
    """Digest of a file → the candidates that it is of."""
    found: dict[str, list[str]] = {}
    for item in verdict.candidates:
        if item.artifact:
            found.setdefault(item.artifact.digest, []).append(item.name)
    return {digest: ", ".join(names) for digest, names in found.items()}


def _basis(verdict: Verdict) -> str:
    """What the quality was told by."""
    quality = next((item.quality for item in verdict.candidates if item.quality), None)
    if quality is None:
        return ""
    against = {
        "top1": "against the labels",
        "agreement": "with the original's top class",
        "cosine": "to the original's outputs",
    }[quality.metric]
    return f"The drop is of {METRICS[quality.metric]} {against}, on {quality.samples} samples the search never saw."
