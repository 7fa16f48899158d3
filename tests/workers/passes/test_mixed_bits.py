"""How bits are chosen on a made-up profile."""

from __future__ import annotations

import pytest

from burnish.passes import Quantize
from burnish.passes.quantize import BITS
from workers.passes.mixed_bits import Weighed, choose_bits
from workers.profile import LayerProfile, Profile


def layer(name: str, parameters: int, seconds: float, int8: float, int4: float, int2: float) -> LayerProfile:
    errors = {"int8": int8, "int4": int4, "int2": int2}
    return LayerProfile(name=name, op="linear", parameters=parameters, flops=1, seconds=seconds, errors=errors)


PROFILE = Profile(
    layers=(
        layer("stem", 1_000, 0.001, 60.0, 20.0, 2.0),
        layer("body.0", 100_000, 0.004, 70.0, 45.0, 25.0),
        layer("body.1", 100_000, 0.004, 70.0, 40.0, 15.0),
        layer("head", 10_000, 0.001, 65.0, 30.0, 5.0),
    ),
    seconds=0.01,
    batch=1,
    threads=1,
    bfloat16=False,
)
LAYERS = [Weighed(each.name, each.parameters) for each in PROFILE.layers]


def chosen(**budget: float) -> dict[str, str]:
    return {name: choice.kind for name, choice in choose_bits(LAYERS, PROFILE, settings(**budget)).items()}


def settings(**budget: float) -> Quantize:
    return Quantize.model_validate({"weights": "mixed", **budget})


def average(kinds: dict[str, str]) -> float:
    total = sum(each.parameters for each in LAYERS)
    return sum(each.parameters * BITS[kinds[each.name]] for each in LAYERS) / total


def noise(kinds: dict[str, str]) -> float:
    return sum(10 ** (-each.errors[kinds[each.name]] / 10) for each in PROFILE.layers)


@pytest.mark.parametrize("bits", [2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0])
def test_the_average_is_kept(bits: float) -> None:
    assert average(chosen(average_bits=bits)) <= bits


@pytest.mark.parametrize("ratio", [5.0, 15.0, 25.0, 40.0, 55.0])
def test_the_noise_stays_within_the_ratio(ratio: float) -> None:
    assert noise(chosen(least_db=ratio)) <= 10 ** (-ratio / 10)


def test_a_sensitive_small_layer_keeps_its_bits_and_an_insensitive_large_one_loses_them() -> None:
    kinds = chosen(average_bits=4)
    assert kinds["stem"] == "int8"
    assert BITS[kinds["body.0"]] <= BITS[kinds["body.1"]]
    assert kinds["body.0"] != "int8"


def test_more_budget_never_means_more_noise() -> None:
    found = [noise(chosen(average_bits=bits)) for bits in (2.0, 3.0, 4.0, 5.0, 6.0, 8.0)]
    assert found == sorted(found, reverse=True)


def test_eight_bits_are_kept_where_the_ratio_allows_no_less() -> None:
    assert set(chosen(least_db=59.0).values()) == {"int8"}


def test_room_that_is_left_goes_to_the_noisiest_layers() -> None:
    assert chosen(average_bits=8) == dict.fromkeys(("stem", "body.0", "body.1", "head"), "int8")
    assert chosen(average_bits=2.3)["stem"] == "int8"


def test_of_two_equal_layers_the_slower_one_loses_bits_first() -> None:
    profile = Profile(
        layers=(layer("fast", 1000, 0.001, 60, 30, 10), layer("slow", 1000, 0.009, 60, 30, 10)),
        seconds=0.01,
        batch=1,
        threads=1,
        bfloat16=False,
    )
    found = choose_bits([Weighed("fast", 1000), Weighed("slow", 1000)], profile, settings(average_bits=6))
    assert {name: choice.kind for name, choice in found.items()} == {"fast": "int8", "slow": "int4"}


def test_each_choice_says_why() -> None:
    choice = choose_bits(LAYERS, PROFILE, settings(average_bits=4))["body.1"]
    assert "within an average of 4 bits" in choice.reason
    assert "4 bits 40.0 dB" in choice.reason
    assert "47.4% of the weights, 4 ms" in choice.reason
    assert choice.seconds == 0.004
    assert "within 25 dB" in choose_bits(LAYERS, PROFILE, settings(least_db=25))["stem"].reason


def test_a_layer_that_was_not_measured_keeps_eight_bits() -> None:
    found = choose_bits([*LAYERS, Weighed("new", 50_000)], PROFILE, settings(average_bits=3))
    assert found["new"].kind == "int8"
    assert "no measurement" in found["new"].reason


def test_the_same_profile_gives_the_same_choice() -> None:
    assert choose_bits(LAYERS, PROFILE, settings()) == choose_bits(LAYERS, PROFILE, settings())
