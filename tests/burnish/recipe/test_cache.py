"""Where `cache` may stand, and what excludes what."""

from __future__ import annotations

import pytest

from burnish.errors import Fault, InvalidSpec
from burnish.passes import PASSES, Cache
from burnish.recipe import Recipe


def faults(*passes: object) -> list[Fault]:
    with pytest.raises(InvalidSpec) as caught:
        Recipe.parse({"passes": list(passes)}, at="/recipe")
    return list(caught.value.faults)


@pytest.mark.parametrize("name", sorted(set(PASSES) - {"cache"}))
def test_every_other_pass_stands_before_cache_and_none_behind(name: str) -> None:
    assert Cache.may_follow(PASSES[name])
    assert not PASSES[name].may_follow(Cache)


def test_a_pass_behind_it_is_told_where_to_stand() -> None:
    (fault,) = faults({"cache": {"kind": "state"}}, "quantize")
    assert fault.where == "/recipe/passes/1"
    assert fault.cure == "Move it before `cache`."


@pytest.mark.parametrize("kind", ["constants", "state", "memo"])
def test_each_kind_may_stand_once(kind: str) -> None:
    (fault,) = faults("quantize", {"cache": {"kind": kind}}, {"cache": {"kind": kind}})
    assert fault.where == "/recipe/passes/2"
    assert fault.message == f"`cache` of kind `{kind}` may stand in a recipe once."


@pytest.mark.parametrize("other", ["state", "memo"])
def test_constants_may_stand_with_another_kind_in_either_order(other: str) -> None:
    Recipe.parse({"passes": [{"cache": {"kind": "constants"}}, {"cache": {"kind": other}}]})
    Recipe.parse({"passes": [{"cache": {"kind": other}}, {"cache": {"kind": "constants"}}]})


@pytest.mark.parametrize("order", [("state", "memo"), ("memo", "state")])
def test_state_and_memo_exclude_each_other(order: tuple[str, str]) -> None:
    (fault,) = faults(*({"cache": {"kind": kind}} for kind in order))
    assert "never sees the same input twice" in fault.message
