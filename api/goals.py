"""Goals that can't be reached whatever the search does: refused at the door instead of after an hour."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from burnish.errors import Fault
from burnish.recipe import Recipe
from burnish.recipe.quantities import format_bytes
from burnish.results import Signature

__all__ = ["goal_faults"]

_BYTES_PER_WEIGHT = 4
_SLACK = 0.9
"""The bound is an estimate: what is nearer to it than this is let through and decided by measuring."""


def goal_faults(recipe: Recipe, signature: Signature, *, labelled: bool) -> list[Fault]:
    """Contradictions between goal, passes, model and dataset.

    1. `max_size` below the least bytes that the named passes can leave. Without passes the search may choose any, so
       there is no bound.
    2. `max_drop` where quality can be told neither by labels nor by the class that the model picks.
    3. A pass that reads labels, with a dataset that has none.
    """
    return [*_size(recipe, signature), *_drop(recipe, signature, labelled), *_labels(recipe, labelled)]


def least_size(recipe: Recipe, signature: Signature) -> float:
    """Bytes that the weights take at least after the recipe's passes."""
    return signature.parameters * _BYTES_PER_WEIGHT * prod(entry.least_size_factor() for entry in recipe.passes)


def is_class_scores(signature: Signature) -> bool:
    """True if the one output looks like scores of at least two classes per sample: floats, (batch, classes)."""
    if len(signature.outputs) != 1:
        return False
    output = signature.outputs[0]
    return len(output.shape) == 2 and output.dtype.startswith(("float", "bfloat")) and (output.shape[1] or 0) >= 2


def _size(recipe: Recipe, signature: Signature) -> Iterator[Fault]:
    limit = recipe.goal.max_size
    if limit is None or not recipe.passes:
        return
    least = least_size(recipe, signature)
    if limit < least * _SLACK:
        yield Fault(
            where="/recipe/goal/max_size",
            message=f"{format_bytes(limit)} is out of reach: {signature.parameters} weights are at least "
            f"{format_bytes(round(least))} after these passes.",
            cure="Raise it, or add passes that make the model smaller (a higher ratio for `prune`, or `quantize`).",
        )


def _drop(recipe: Recipe, signature: Signature, labelled: bool) -> Iterator[Fault]:
    if recipe.goal.max_drop is None or labelled or is_class_scores(signature):
        return
    yield Fault(
        where="/recipe/goal/max_drop",
        message="There is nothing to take the drop of: the dataset has no labels and the output is no class scores.",
        cure="Add `targets` to the dataset, or leave max_drop out (the cosine of the outputs is reported then).",
    )


def _labels(recipe: Recipe, labelled: bool) -> Iterator[Fault]:
    for index, entry in enumerate(recipe.passes):
        if "labels" in entry.reads() and not labelled:
            yield Fault(
                where=f"/recipe/passes/{index}/{entry.name}",
                message=f"`{entry.name}` reads labels, and the dataset has none.",
                cure="Add `targets` to the dataset, or leave out the pass, or the setting that reads labels.",
            )
