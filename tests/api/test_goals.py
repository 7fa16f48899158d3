"""Goals that contradict what they are set for."""

from __future__ import annotations

from typing import Any

import pytest

from api.goals import goal_faults, is_class_scores, least_size
from burnish.recipe import Recipe
from burnish.results import Signature, TensorSpec


def signature(*outputs: tuple[str, tuple[int | None, ...]], parameters: int = 1000) -> Signature:
    shown = outputs or (("float32", (None, 10)),)
    return Signature(
        inputs=(TensorSpec(name="x", dtype="float32", shape=(None, 3)),),
        outputs=tuple(TensorSpec(name=f"y{i}", dtype=kind, shape=shape) for i, (kind, shape) in enumerate(shown)),
        parameters=parameters,
    )


def wheres(recipe: dict[str, Any], sig: Signature | None = None, *, labelled: bool = True) -> list[str]:
    found = goal_faults(Recipe.parse(recipe), sig or signature(), labelled=labelled)
    assert all(fault.cure for fault in found)
    return [fault.where for fault in found]


def test_the_least_size_is_what_the_passes_can_leave() -> None:
    halved = Recipe.parse({"passes": [{"prune": {"ratio": 0.5}}]})
    both = Recipe.parse({"passes": [{"prune": {"ratio": 0.5}}, "quantize"]})
    assert least_size(halved, signature()) == 1000
    assert least_size(both, signature()) == 250


@pytest.mark.parametrize(("limit", "refused"), [(899, True), (900, False), (1000, False)])
def test_a_size_is_refused_only_clearly_below_the_least(limit: int, refused: bool) -> None:
    recipe = {"goal": {"max_size": limit}, "passes": [{"prune": {"ratio": 0.5}}]}
    assert wheres(recipe) == (["/recipe/goal/max_size"] if refused else [])


def test_without_passes_the_search_may_reach_any_size() -> None:
    assert wheres({"goal": {"max_size": 1}}) == []


def test_a_limit_on_the_drop_needs_labels_or_class_scores() -> None:
    recipe = {"goal": {"max_drop": "1%"}}
    features = signature(("float32", (None, 3, 8)))
    assert wheres(recipe, features, labelled=False) == ["/recipe/goal/max_drop"]
    assert wheres(recipe, features, labelled=True) == []
    assert wheres(recipe, labelled=False) == []
    assert wheres({}, features, labelled=False) == []


def test_class_scores_are_one_output_of_floats_per_class() -> None:
    assert is_class_scores(signature(("float16", (None, 2))))
    for outputs in (
        [("float32", (None, 1))],
        [("int64", (None, 10))],
        [("float32", (None,))],
        [("float32", (None, None))],
        [("float32", (None, 10)), ("float32", (None, 10))],
    ):
        assert not is_class_scores(signature(*outputs)), outputs
