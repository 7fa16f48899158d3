"""Checking a job before it is accepted: everything that can be known without running it, all faults at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import ValidationError

from api.goals import goal_faults
from api.students import with_students
from burnish.errors import Fault, InvalidSpec, NotFound
from burnish.formats import DatasetSchema
from burnish.formats.fit import faults as fit_faults
from burnish.recipe import BACKEND_DEVICES, JobSpec, Recipe, Target, faults_of
from burnish.resources import JobChange
from burnish.results import Signature
from storage import datasets, models, workers
from storage.database import Transaction
from storage.records import Dataset, Model

__all__ = ["Order", "check", "job_change", "recipe_faults"]

RecordT = TypeVar("RecordT")


@dataclass(frozen=True, kw_only=True)
class Order:
    """A sound job: its spec, and what the spec refers to."""

    spec: JobSpec
    model: Model
    dataset: Dataset


def check(tx: Transaction, document: Mapping[str, Any]) -> Order:
    """Checks a job as it was sent.

    1. The recipe by its own rules, and the rest of the document.
    2. Model and dataset exist, and the dataset fits the model.
    3. A live worker serves the target's device, and a backend makes artifacts for it; the model takes the batch.
    4. The goal does not contradict passes, model and dataset.

    What one fault hides is left out; everything else is reported beside it.

    Raises:
        InvalidSpec: with every fault and its path.
    """
    seen = _look(tx, document)
    if seen.faults or seen.spec is None or seen.model is None or seen.dataset is None:
        raise InvalidSpec(seen.faults)
    return Order(spec=seen.spec, model=seen.model, dataset=seen.dataset)


def recipe_faults(tx: Transaction, recipe: object, model: str | None, dataset: str | None) -> list[Fault]:
    """The faults that a job with this recipe would be refused for, as far as model and dataset are named. Changes
    nothing. Paths are those inside the recipe; `/model` and `/dataset` are of the other two."""
    document = {"recipe": recipe, "model": model, "dataset": dataset}
    absent = {f"/{name}" for name in ("model", "dataset") if document[name] is None}
    return [
        replace(fault, where=fault.where.removeprefix("/recipe") or "/")
        for fault in _look(tx, document).faults
        if fault.where not in absent
    ]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    spec: JobSpec | None
    model: Model | None
    dataset: Dataset | None
    faults: list[Fault]


def _look(tx: Transaction, document: Mapping[str, Any]) -> _Seen:
    faults: list[Fault] = []
    recipe = _recipe(document, faults)
    spec = _spec(document, recipe, faults)
    model = _resolve(models.resolve, tx, document, "model", faults)
    dataset = _resolve(datasets.resolve, tx, document, "dataset", faults)
    target = recipe.target if recipe else _target(document)
    if target:
        faults += _device_faults(tx, target)
    if model:
        faults += _model_faults(Signature.model_validate(model.signature), dataset, recipe, target)
    if model and recipe and spec:
        recipe = with_students(tx, recipe, model, faults)
        spec = spec.model_copy(update={"recipe": recipe})
    return _Seen(spec=spec, model=model, dataset=dataset, faults=faults)


def job_change(document: Mapping[str, Any]) -> JobChange:
    """A change of a job as it was sent. Raises `InvalidSpec` with every fault and its path."""
    try:
        return JobChange.model_validate(document)
    except ValidationError as error:
        raise InvalidSpec(faults_of(error)) from error


def _model_faults(
    signature: Signature, dataset: Dataset | None, recipe: Recipe | None, target: Target | None
) -> Iterator[Fault]:
    if dataset:
        schema = DatasetSchema.model_validate(dataset.schema)
        yield from fit_faults(schema, signature, (target or Target()).batch)
    elif target:
        yield from _batch_faults(signature, target)  # else `fit_faults` has looked at it
    if dataset and recipe:
        yield from goal_faults(recipe, signature, labelled=dataset.labelled)


def _recipe(document: Mapping[str, Any], faults: list[Fault]) -> Recipe | None:
    try:
        return Recipe.parse(document.get("recipe") or {}, at="/recipe")
    except InvalidSpec as error:
        faults += error.faults
        return None


def _spec(document: Mapping[str, Any], recipe: Recipe | None, faults: list[Fault]) -> JobSpec | None:
    """The document around the recipe, which has been looked at already."""
    try:
        return JobSpec.model_validate({**document, "recipe": recipe or Recipe()})
    except ValidationError as error:
        faults += faults_of(error)
        return None


def _target(document: Mapping[str, Any]) -> Target | None:
    """The target of a recipe that has faults elsewhere."""
    recipe = document.get("recipe")
    try:
        return Target.model_validate(recipe.get("target", {})) if isinstance(recipe, Mapping) else None
    except ValidationError:
        return None  # its faults are among the recipe's


def _resolve(
    resolve: Callable[[Transaction, str], RecordT],
    tx: Transaction,
    document: Mapping[str, Any],
    kind: str,
    faults: list[Fault],
) -> RecordT | None:
    ref = document.get(kind)
    if not isinstance(ref, str) or not 1 <= len(ref) <= 200:
        return None  # a fault of the document
    try:
        return resolve(tx, ref)
    except NotFound as error:
        faults.append(Fault(where=f"/{kind}", message=error.message, cure=error.cure))
        return None


def _device_faults(tx: Transaction, target: Target) -> Iterator[Fault]:
    served = sorted({device for row in workers.live(tx) for device in row.queues})
    if target.device not in served:
        yield Fault(
            where="/recipe/target/device",
            message=f"No live worker serves {target.device!r} (served: {', '.join(served) or 'nothing'}).",
            cure=f"Start a worker with BURNISH_QUEUES={target.device}, or name a device that is served.",
        )
    elif not any(target.device in BACKEND_DEVICES[name] for name in target.backends):
        known = {device for devices in BACKEND_DEVICES.values() for device in devices}
        fitting = [name for name, devices in BACKEND_DEVICES.items() if target.device in devices]
        yield Fault(
            where="/recipe/target/backend",
            message=f"`{target.backend}` makes no artifact for {target.device!r}.",
            cure=f"Use {' or '.join(fitting)}." if fitting else f"Use the device {' or '.join(sorted(known))}.",
        )


def _batch_faults(signature: Signature, target: Target) -> Iterator[Fault]:
    if signature.max_batch is not None and target.batch > signature.max_batch:
        yield Fault(
            where="/recipe/target/batch",
            message=f"The model takes at most {signature.max_batch} samples per call, not {target.batch}.",
            cure=f"Ask for at most {signature.max_batch}, or export the model with a wider batch dimension.",
        )
