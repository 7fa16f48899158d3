"""Which passes `distill` may follow, where names alone don't tell."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import InvalidSpec
from burnish.recipe import Recipe


def recipe(*passes: dict[str, Any]) -> Recipe:
    return Recipe.parse({"passes": list(passes)})


@pytest.mark.parametrize("weights", ["int8", "int4", "int3", "int2", "mixed", "fp8", "nf4"])
def test_it_may_follow_a_rounding(weights: str) -> None:
    assert [each.name for each in recipe({"quantize": {"weights": weights}}, {"distill": {}}).passes] == [
        "quantize", "distill",
    ]  # fmt: skip


@pytest.mark.parametrize("weights", ["bfloat16", "float16"])
def test_it_may_not_follow_half_precision(weights: str) -> None:
    with pytest.raises(InvalidSpec, match="Put `distill` before `quantize`"):
        recipe({"quantize": {"weights": weights}}, {"distill": {}})


def test_a_recipe_may_recover_before_and_after_rounding() -> None:
    assert len(recipe({"prune": {}}, {"distill": {}}, {"quantize": {"weights": "int2"}}, {"distill": {}}).passes) == 4
