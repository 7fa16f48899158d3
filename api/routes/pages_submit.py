"""The page on which a job is put together: files, goal, target, passes, and the recipe as YAML beside them."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import render_template, request

from api.services import services
from storage import datasets, jobs, models, workers
from storage.database import Transaction
from storage.records import Dataset, Model

__all__ = ["blueprint"]

blueprint = APIBlueprint("pages_submit", __name__, enable_openapi=False)

_OFFERED = 200
"""Newest models and datasets to choose among; older ones are reached from their own pages."""


@blueprint.get("/submit")
def submit() -> str:
    """The form; `?from=JOB` fills it with what that job was asked for, `?model=` and `?dataset=` choose files."""
    with services().database.read() as tx:
        earlier = jobs.get(tx, request.args["from"]) if request.args.get("from") else None
        model = earlier.model_id if earlier else _id(tx, models.resolve, request.args.get("model"))
        dataset = earlier.dataset_id if earlier else _id(tx, datasets.resolve, request.args.get("dataset"))
        offered = _models(tx, model)
        return render_template(
            "submit.html",
            here="submit",
            earlier=earlier,
            recipe=earlier.spec.get("recipe", {}) if earlier else {},
            priority=earlier.priority if earlier else 5,
            models=[(each, each.signature.get("parameters", 0)) for each in offered],
            datasets=_datasets(tx, dataset),
            model=model,
            dataset=dataset,
            devices=sorted({queue for row in workers.live(tx) for queue in row.queues}),
        )


def _id(tx: Transaction, resolve: object, ref: str | None) -> str | None:
    found = resolve(tx, ref) if ref and callable(resolve) else None
    return None if found is None else str(found.id)


def _models(tx: Transaction, chosen: str | None) -> list[Model]:
    found = models.list_(tx, after=None, limit=_OFFERED)
    missing = chosen is not None and chosen not in {each.id for each in found}
    return [models.get(tx, str(chosen)), *found] if missing else found


def _datasets(tx: Transaction, chosen: str | None) -> list[Dataset]:
    found = datasets.list_(tx, after=None, limit=_OFFERED)
    missing = chosen is not None and chosen not in {each.id for each in found}
    return [datasets.get(tx, str(chosen)), *found] if missing else found
