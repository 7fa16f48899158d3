"""The recipe language: what it reads, what it refuses, and where it says the fault is."""

import itertools
import json
import re
from typing import Any

import pytest

from burnish import Distill, Goal, Prune, Quantize, Recipe, Target
from burnish.errors import Fault, InvalidSpec
from burnish.passes import PASSES, Cache, LowRank, PassSettings, Simplify
from burnish.recipe import canonical_json


def faults_of(document: object) -> dict[str, Fault]:
    with pytest.raises(InvalidSpec) as caught:
        Recipe.parse(document, at="/recipe")
    return {fault.where: fault for fault in caught.value.faults}


def test_the_recipe_of_the_design_is_read() -> None:
    recipe = Recipe.parse(
        {
            "target": {"device": "cpu", "threads": 1, "batch": 1, "backend": "auto"},
            "goal": {"minimize": "latency", "max_drop": "0.5%", "max_size": "2MB"},
            "passes": [
                {"prune": {"kind": "structured", "ratio": 0.5}},
                {"distill": {"epochs": 10}},
                {"quantize": {"weights": "int8", "activations": "int8"}},
            ],
            "seed": 0,
        }
    )
    assert recipe.goal == Goal(minimize="latency", max_drop=0.005, max_size=2_000_000)
    assert recipe.passes == (Prune(ratio=0.5), Distill(epochs=10), Quantize())


def test_a_recipe_written_as_json_is_read_back_the_same() -> None:
    recipe = Recipe(target=Target(threads=2), passes=(Prune(ratio=0.3), Quantize()))
    assert Recipe.parse(recipe.model_dump(mode="json")) == recipe


def test_a_pass_may_be_named_without_settings() -> None:
    assert Recipe.parse({"passes": ["distill", {"quantize": None}]}).passes == (Distill(), Quantize())


def test_every_fault_is_listed_with_its_path() -> None:
    faults = faults_of(
        {
            "goal": {"max_drop": "5 apples", "max_sise": "2MB"},
            "passes": [{"quantize": {}}, {"prune": {"ratio": 3, "depth": 1}}, {"bogus": {}}],
            "seed": -1,
        }
    )
    assert set(faults) == {
        "/recipe/goal/max_drop",
        "/recipe/goal/max_sise",
        "/recipe/passes/1/prune/ratio",
        "/recipe/passes/1/prune/depth",
        "/recipe/passes/1",
        "/recipe/passes/2",
        "/recipe/seed",
    }


def test_an_unknown_pass_names_the_passes_there_are() -> None:
    assert ", ".join(PASSES) in faults_of({"passes": [{"bogus": {}}]})["/recipe/passes/0"].message


def test_an_unknown_setting_is_a_fault_not_a_silent_default() -> None:
    assert "'ratios'" in faults_of({"passes": [{"prune": {"ratios": 0.5}}]})["/recipe/passes/0/prune/ratios"].message


@pytest.mark.parametrize(
    "document", [[], "prune", 3, {"passes": 3}, {"passes": [3]}, {"passes": [{}]}, {"passes": [{"prune": 1}]}]
)
def test_a_document_of_another_shape_is_refused_without_a_crash(document: object) -> None:
    assert faults_of(document)


def test_a_pass_in_the_wrong_place_is_told_where_to_stand() -> None:
    fault = faults_of({"passes": ["quantize", "prune"]})["/recipe/passes/1"]
    assert fault.message == "`prune` may not stand after `quantize`."
    assert fault.cure == "Move it before `quantize`."


def test_a_pass_that_may_stand_only_once_is_told_to_leave() -> None:
    assert faults_of({"passes": ["quantize", "quantize"]})["/recipe/passes/1"].cure == "Leave one of the two out."


def test_every_pair_of_passes_has_an_order_in_which_both_may_stand() -> None:
    for first, second in itertools.combinations(PASSES.values(), 2):
        assert second.may_follow(first) or first.may_follow(second)


def in_order(*names: str | dict[str, Any]) -> bool:
    """True if the recipe takes these passes in this order."""
    try:
        Recipe.parse({"passes": list(names)})
    except InvalidSpec:
        return False
    return True


def test_every_ordered_pair_is_taken_or_refused_as_the_relation_says() -> None:
    for first, second in itertools.permutations(PASSES, 2):
        assert in_order(first, second) == PASSES[second].may_follow(PASSES[first]), (first, second)
        assert in_order(first, second) or in_order(second, first)


def test_the_order_of_three_follows_from_that_of_pairs() -> None:
    for names in itertools.permutations(PASSES, 3):
        pairs = itertools.combinations(names, 2)
        assert in_order(*names) == all(PASSES[later].may_follow(PASSES[first]) for first, later in pairs), names


VARIANTS: dict[str, PassSettings] = {
    "simplify": Simplify(),
    "channels": Prune(),
    "zeros": Prune(kind="unstructured"),
    "2:4": Prune(kind="2:4"),
    "low_rank": LowRank(),
    "distill": Distill(),
    "student": Distill(student="small"),
    "int8": Quantize(),
    "int4": Quantize(weights="int4"),
    "bfloat16": Quantize(weights="bfloat16"),
    "float16": Quantize(weights="float16"),
    "constants": Cache(),
    "state": Cache(kind="state"),
    "memo": Cache(kind="memo"),
}
"""Every pass with the settings that tell variants apart whose places differ."""
EXCLUDED = {
    ("zeros", "low_rank"), ("2:4", "low_rank"),  # the zeros would be lost
    ("bfloat16", "distill"), ("float16", "distill"),  # too coarse for steps of training
    *((name, "student") for name in VARIANTS),  # what came before would be lost
    ("constants", "constants"), ("state", "state"), ("memo", "memo"), ("state", "memo"), ("memo", "state"),
}  # fmt: skip
"""Pairs that settings forbid in this order, besides those that names forbid."""


def asked(variant: str) -> dict[str, Any]:
    """As a recipe asks for it."""
    settings = VARIANTS[variant]
    return {settings.name: settings.model_dump(mode="json")}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(VARIANTS, VARIANTS)))
def test_every_ordered_pair_of_variants_is_taken_or_refused_as_stated(first: str, second: str) -> None:
    earlier, later = VARIANTS[first], VARIANTS[second]
    refused = not type(later).may_follow(type(earlier)) or (first, second) in EXCLUDED
    assert in_order(asked(first), asked(second)) is not refused


def test_variants_that_may_never_meet_are_few_and_known() -> None:
    strangers = {
        frozenset(pair)
        for pair in itertools.combinations(VARIANTS, 2)
        if not any(in_order(*map(asked, order)) for order in (pair, pair[::-1]))
    }
    roundings = itertools.combinations(("int8", "int4", "bfloat16", "float16"), 2)
    assert strangers == {frozenset({"state", "memo"}), *map(frozenset, roundings)}


def test_what_a_pass_reads_is_what_the_catalogue_says() -> None:
    """With no settings it reads at least what it always needs; with some, all that it may."""
    greedy: dict[str, dict[str, object]] = {
        "prune": {"kind": "unstructured", "schedule": {"steps": 2, "labels": 0.5}},
        "distill": {"labels": 0.5},
    }
    for name, kind in PASSES.items():
        assert kind().reads() == kind.needs
        assert kind.model_validate(greedy.get(name, {})).reads() == kind.needs | kind.may_need


def test_the_order_rules_name_only_passes_that_exist() -> None:
    for kind in PASSES.values():
        assert kind.never_after <= set(PASSES)


def test_canonical_json_is_one_text_per_value() -> None:
    assert (
        canonical_json({"b": 1, "a": [1.5, "é"]})
        == canonical_json({"a": [1.5, "é"], "b": 1})
        == '{"a":[1.5,"é"],"b":1}'
    )


def test_canonical_json_refuses_what_has_no_single_text() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_the_schema_stands_alone_also_where_settings_have_parts_of_their_own() -> None:
    text = json.dumps(Recipe.model_json_schema())
    used = set(re.findall(r'"#/\$defs/(\w+)"', text))
    assert used <= set(Recipe.model_json_schema()["$defs"])
