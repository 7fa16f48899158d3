"""Probes and metrics."""

from __future__ import annotations

from typing import Literal

from apiflask import APIBlueprint
from flask import Response, current_app

from api.metrics import CONTENT_TYPE_LATEST
from api.readiness import states
from api.services import services
from burnish.document import Document

__all__ = ["blueprint"]

blueprint = APIBlueprint("health", __name__)


class Health(Document):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(Document):
    """Whether the parts that the service stands on answer."""

    ready: bool
    parts: dict[str, str]
    """`database`, `blobs` and `broker`: `ok`, or why it can't be used."""


@blueprint.get("/healthz")
@blueprint.output(Health)
def healthz() -> Response:
    """Whether the process is alive"""
    return Response(Health().model_dump_json(), mimetype="application/json")


@blueprint.get("/readyz")
@blueprint.output(Readiness)
@blueprint.doc(
    responses={503: "A part is away: the same document."},
    extensions={"x-content": {"503": {"application/json": "Readiness"}}},
)
def readyz() -> Response:
    """Whether database, blob store and broker answer"""
    parts = states(services())
    ready = all(state == "ok" for state in parts.values())
    document = Readiness(ready=ready, parts=parts)
    return Response(document.model_dump_json(), 200 if ready else 503, mimetype="application/json")


@blueprint.get("/metrics")
@blueprint.doc(responses={200: "Text format."}, extensions={"x-content": {"200": {"text/plain": "text"}}})
def metrics() -> Response:
    """Metrics for Prometheus"""
    return Response(current_app.extensions["burnish.metrics"].text(), content_type=CONTENT_TYPE_LATEST)
