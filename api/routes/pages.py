"""Pages for people: the jobs, one job, the docs, and signing in. They work without JavaScript, and are live with it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from apiflask import APIBlueprint
from flask import Response, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from api.auth import accepted, keep_token
from api.chart import chart_of
from api.errors import STATUS
from api.job_actions import FINISHED, ring, whole
from api.live_pages import live_fragment, live_page
from api.replies import unchanged
from api.services import services
from burnish.errors import ERRORS
from burnish.resources import JobResource
from storage import jobs

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages", __name__, enable_openapi=False)


@blueprint.get("/jobs/<id>")
def job(id: str) -> Response:
    """One job."""
    return live_page(**_job(id))


@blueprint.get("/jobs/<id>/fragment")
def job_fragment(id: str) -> Response:
    """What changes of that page. A job that has not changed is not even read whole."""
    with services().database.read() as tx:
        etag = f"{id}.{jobs.version(tx, id)}"
    return unchanged(etag) or live_fragment(**_job(id))


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
        again = whole(tx, jobs.retry(tx, id))
    ring(services(), again)
    return redirect(f"/jobs/{id}", 303)


@blueprint.get("/docs")
def docs() -> str:
    """The API, readable."""
    spec: dict[str, Any] = current_app._get_spec("json")  # type: ignore[attr-defined]
    operations = [
        (path, method, operation) for path, methods in spec["paths"].items() for method, operation in methods.items()
    ]
    explained = [
        {"code": kind.code, "status": STATUS[kind].status, "error_class": kind.error_class, "meaning": kind.__doc__}
        for kind in ERRORS
    ]
    return render_template("docs.html", spec=spec, operations=operations, errors=explained, here="docs")


@blueprint.get("/login")
def login() -> str:
    """Asks for a token."""
    return render_template("login.html", next=_local(request.args.get("next", "/")), wrong=False)


@blueprint.post("/login")
def enter() -> BaseResponse:
    """Keeps an accepted token in a cookie, and goes on to where the person wanted to."""
    token = request.form.get("token", "").strip()
    target = _local(request.form.get("next", "/"))
    if not accepted(token, services().settings.tokens):
        return Response(render_template("login.html", next=target, wrong=True), 401)
    response = redirect(target, 303)
    keep_token(response, token)
    return response


def _local(address: str) -> str:
    """The address if it is one of this site, else the first page: no way out to elsewhere."""
    parts = urlsplit(address)
    inside = not parts.scheme and not parts.netloc and address.startswith("/") and "\\" not in address
    return address if inside and not address.startswith("//") else "/"


def _job(id: str) -> dict[str, Any]:
    with services().database.read() as tx:
        record = jobs.get(tx, id)
        shown = whole(tx, record)
    return {
        "name": "job",
        "job": shown,
        "target": shown.spec.recipe.target,
        "goal": shown.spec.recipe.goal,
        "chart": chart_of(shown.verdict) if shown.verdict else None,
        "basis": _basis(shown),
        "owners": _owners(shown),
        "unfinished": shown.state not in FINISHED,
        "fragment_url": f"/jobs/{id}/fragment",
        "etag": f"{id}.{record.revision}",
    }


def _owners(job: JobResource) -> dict[str, str]:
    """Digest of a file → the candidates that it is of."""
    found: dict[str, list[str]] = {}
    for item in job.verdict.candidates if job.verdict else ():
        if item.artifact:
            found.setdefault(item.artifact.digest, []).append(item.name)
    return {digest: ", ".join(names) for digest, names in found.items()}


def _basis(job: JobResource) -> str:
    """What the quality was told by."""
    quality = next((item.quality for item in job.verdict.candidates if item.quality), None) if job.verdict else None
    if quality is None:
        return ""
    measure = {
        "top1": "accuracy against the labels",
        "agreement": "agreement with the original's top class",
        "cosine": "cosine to the original's outputs",
    }[quality.metric]
    return f"The drop is of {measure}, on {quality.samples} samples the search never saw."
