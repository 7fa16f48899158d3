"""The Flask app: routes, errors, tokens, metrics and the OpenAPI document put together."""

from __future__ import annotations

from functools import partial

from apiflask import APIFlask
from flask import Response

from api import assets, auth, direct, errors, formatting, tracing
from api.feed import Feed
from api.metrics import Metrics
from api.openapi import complete
from api.routes import (
    aliases,
    artifacts,
    datasets,
    events,
    health,
    jobs,
    models,
    pages,
    pages_compare,
    pages_fleet,
    pages_job,
    pages_jobs,
    pages_models,
    pages_schedules,
    pages_submit,
    passes,
    recipes,
    schedules,
    uploads,
    webhooks,
    workers,
)
from api.services import Bell, Services
from burnish import __version__
from burnish.settings import Settings
from storage.blobs import BlobStore
from storage.database import Database
from storage.timed_blobs import timed

__all__ = ["create_app"]

BLUEPRINTS = (
    models.blueprint,
    datasets.blueprint,
    uploads.blueprint,
    recipes.blueprint,
    jobs.blueprint,
    events.blueprint,
    artifacts.blueprint,
    schedules.blueprint,
    aliases.blueprint,
    webhooks.blueprint,
    passes.blueprint,
    workers.blueprint,
    health.blueprint,
    pages.blueprint,
    pages_jobs.blueprint,
    pages_job.blueprint,
    pages_compare.blueprint,
    pages_submit.blueprint,
    pages_models.blueprint,
    pages_fleet.blueprint,
    pages_schedules.blueprint,
)
"""Every group of routes, in the order of the docs."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src {connect}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""`blob:` is for pictures alone: a plot is drawn from its own SVG when it is saved as PNG. `connect` is this server,
and the store too if files may be sent straight to it."""
_DESCRIPTION = (
    "Makes trained PyTorch models fast to run, and proves it: upload a model and samples, submit a job, poll it, "
    "fetch the artifact."
)


def create_app(settings: Settings, database: Database, blobs: BlobStore, doorbell: Bell) -> APIFlask:
    """The WSGI app. What it works with is made by the caller, who also closes it."""
    app = APIFlask(
        __name__,
        title="Burnish",
        version=__version__,
        docs_path=None,
        spec_path="/openapi.json",
        static_folder=None,  # type: ignore[arg-type]  # declared too narrow; api/assets.py serves them
    )
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        DESCRIPTION=_DESCRIPTION,
        AUTO_SERVERS=False,
        SERVERS=[{"url": "/"}],
        SECURITY_SCHEMES={"bearer": {"type": "http", "scheme": "bearer"}},
        TEMPLATES_AUTO_RELOAD=False,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    metrics = Metrics(database)
    database.observe(metrics.asked)
    app.extensions["burnish.metrics"] = metrics
    app.extensions["burnish"] = Services(
        settings=settings,
        database=database,
        blobs=timed(blobs, metrics.stored),
        doorbell=doorbell,
        feed=Feed(database),
    )
    assets.install(app)
    tracing.install(app)
    metrics.install(app)
    auth.install(app)
    errors.install(app)
    formatting.install(app)
    app.spec_processor(complete)
    app.after_request(partial(_harden, _POLICY.format(connect=_connect(settings, blobs))))
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app


def _connect(settings: Settings, blobs: BlobStore) -> str:
    store = direct.origin(settings, blobs)
    return "'self'" if store is None else f"'self' {store}"


def _harden(policy: str, response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", policy)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response
