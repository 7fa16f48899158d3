"""Models that a recipe names besides the job's own: students to distill into."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from burnish.errors import Fault, NotFound
from burnish.recipe import Recipe
from burnish.results import Signature, TensorSpec
from storage import models
from storage.database import Transaction
from storage.records import Model

__all__ = ["with_students"]


def with_students(tx: Transaction, recipe: Recipe, model: Model, faults: list[Fault]) -> Recipe:
    """The recipe with each student by its id, so that a later version of that name changes nothing of the job.

    1. The student exists.
    2. It takes and gives what the model does: names and types of the inputs, types of the outputs, and all dimensions.

    Args:
        faults: gets those that are found.
    """
    passes = list(recipe.passes)
    for index, settings in enumerate(passes):
        if (ref := settings.wants_student()) is None:
            continue
        where = f"/recipe/passes/{index}/{settings.name}/student"
        try:
            student = models.resolve(tx, ref)
        except NotFound as error:
            faults.append(Fault(where=where, message=error.message, cure=error.cure))
            continue
        wanted, given = (Signature.model_validate(each.signature) for each in (model, student))
        faults += (
            Fault(where=where, message=message, cure="Export a student with the model's inputs and outputs.")
            for message in _differences(wanted, given)
        )
        passes[index] = settings.model_copy(update={"student": student.id})
    return recipe.model_copy(update={"passes": tuple(passes)})


def _differences(model: Signature, student: Signature) -> Iterator[str]:
    for what, wanted, given in (
        ("inputs", [(spec.name, *_form(spec)) for spec in model.inputs], [(s.name, *_form(s)) for s in student.inputs]),
        ("outputs", [_form(spec) for spec in model.outputs], [_form(spec) for spec in student.outputs]),
    ):
        if wanted != given:
            yield f"The student's {what} are {_told(given)}, and the model's are {_told(wanted)}."
    if model.max_batch != student.max_batch:
        yield f"The student takes up to {student.max_batch} samples per call, and the model up to {model.max_batch}."


def _form(spec: TensorSpec) -> tuple[str, tuple[int | None, ...]]:
    return spec.dtype, spec.shape


def _told(specs: Sequence[tuple[object, ...]]) -> str:
    return ", ".join(" ".join(str(part).replace("None", "any") for part in spec) for spec in specs)
