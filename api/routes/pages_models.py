"""The pages of models and datasets: versions, which artifact is in production, where each came from."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import render_template, request

from api.documents import dataset_resource, model_resource
from api.lineage import Result, quality_plot, result_of, speed_plot
from api.paging import page
from api.replies import moment
from api.services import services
from burnish.errors import NotFound
from storage import aliases, datasets, steps, versions
from storage.aliases import Entry
from storage.database import Transaction
from storage.versions import Named

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages_models", __name__, enable_openapi=False)

_PER_PAGE = 50
_VERSIONS = 100
_RESULTS = 100
"""Newest results of a model that its plots and versions tell of; all jobs are in the list of jobs."""
_LINEAGE = 10
"""Those whose steps are read."""
PRODUCTION = "production"


@blueprint.get("/models")
def models_page() -> str:
    """All models by name, and the datasets."""
    cursor, older = request.args.get("cursor") or None, request.args.get("datasets") or None
    with services().database.read() as tx:
        found = page(lambda limit: versions.named(tx, after=cursor, limit=limit), lambda each: each, _PER_PAGE)
        stored = page(lambda limit: datasets.list_(tx, after=older, limit=limit), dataset_resource, _PER_PAGE)
        shown = [(each, aliases.find(tx, each.newest.name, PRODUCTION)) for each in found.items]
    return render_template(
        "models.html",
        here="models",
        models=[_listed(each, entry) for each, entry in shown],
        next=found.next,
        datasets=stored.items,
        next_datasets=stored.next,
        first=cursor is None and older is None,
    )


@blueprint.get("/models/<name>")
def model_page(name: str) -> str:
    """One name with its versions, aliases, history and lineage."""
    with services().database.read() as tx:
        found = versions.of_name(tx, name, limit=_VERSIONS)
        if not found:
            raise NotFound(f"There is no model {name}.", cure="Look at the list of models.")
        results = [
            result
            for index, job in enumerate(versions.results(tx, name, limit=_RESULTS))
            if (result := result_of(job, steps.of_job(tx, job.id) if index < _LINEAGE else ())) is not None
        ]
        standing = aliases.list_(tx, name)
        history = [(entry.alias, _past(tx, name, entry.alias)) for entry in standing]
    production = next((entry for entry in standing if entry.alias == PRODUCTION), None)
    marked = int(production.model_version.rpartition(":")[2]) if production else None
    return render_template(
        "model.html",
        here="models",
        name=name,
        versions=[(model_resource(each), _newest(results, each.version)) for each in found],
        results=results[:_LINEAGE],
        more=len(results) > _LINEAGE,
        standing=standing,
        history=history,
        production=production,
        tags=_tags(standing),
        speed=speed_plot(results, marked),
        quality=quality_plot(results, marked),
        moment=moment,
    )


def _listed(each: Named, entry: Entry | None) -> dict[str, Any]:
    return {"model": model_resource(each.newest), "versions": each.versions, "production": entry}


def _past(tx: Transaction, name: str, alias: str) -> list[Entry]:
    return aliases.history(tx, name, alias, after=None, limit=10)


def _newest(results: list[Result], version: int) -> Result | None:
    return next((each for each in results if each.version == version), None)


def _tags(standing: list[Entry]) -> dict[str, list[str]]:
    """Digest of an artifact → aliases that stand for it."""
    found: dict[str, list[str]] = {}
    for entry in standing:
        found.setdefault(entry.digest, []).append(entry.alias)
    return found
