"""Which settings of quantization go together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from burnish.passes import Quantize
from burnish.recipe import Recipe


@pytest.mark.parametrize(
    ("weights", "activations"),
    [
        ("int8", "int8"),
        ("int4", "dynamic"),
        ("int3", "dynamic"),
        ("int2", "dynamic"),
        ("mixed", "dynamic"),
        ("fp8", "float32"),
        ("nf4", "float32"),
        ("bfloat16", "bfloat16"),
        ("float16", "float16"),
    ],
)
def test_activations_follow_the_weights_unless_said_otherwise(weights: str, activations: str) -> None:
    assert Quantize.model_validate({"weights": weights}).activations == activations


def test_what_is_left_out_and_what_is_written_out_are_one_document() -> None:
    short = Quantize(weights="int4")
    assert short == Quantize(weights="int4", activations="dynamic", group=None)
    assert Quantize.model_validate(short.model_dump()) == short
    assert Recipe.parse({"passes": [{"quantize": {"weights": "int4"}}]}).passes == (short,)


def test_int8_has_a_scale_per_row_and_fewer_bits_per_64_unless_said_otherwise() -> None:
    assert Quantize(activations="dynamic").group_of(8) is None
    assert Quantize(weights="int4").group_of(4) == 64
    assert Quantize(weights="int4", group=32).group_of(4) == 32


def test_mixed_bits_have_a_budget_of_four_bits_unless_said_otherwise() -> None:
    assert Quantize(weights="mixed").average_bits == 4
    assert Quantize(weights="mixed", least_db=25).average_bits is None


@pytest.mark.parametrize("weights", ["int8", "int4", "fp8", "bfloat16", "mixed"])
def test_only_mixed_bits_want_a_profile(weights: str) -> None:
    assert Quantize.model_validate({"weights": weights}).wants_profile() is (weights == "mixed")


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({}, 0.25),
        ({"weights": "int4"}, 0.125),
        ({"weights": "int2"}, 0.0625),
        ({"weights": "float16"}, 0.5),
        ({"weights": "int8", "layers": {"head": "nf4"}}, 0.125),
        ({"weights": "mixed", "average_bits": 3}, 3 / 32),
    ],
)
def test_the_least_size_follows_the_bits(settings: dict[str, Any], share: float) -> None:
    assert Quantize.model_validate(settings).least_size_factor() == share


REFUSED = {
    "static int8 with few bits": ({"weights": "int4", "activations": "int8"}, "Use `activations: dynamic`"),
    "static int8 with floats": ({"weights": "fp8", "activations": "int8"}, "Use `activations: float32`"),
    "int8 arithmetic with float weights": ({"weights": "nf4", "activations": "dynamic"}, "Use `activations: float32`"),
    "half weights alone": ({"weights": "float16", "activations": "float32"}, "Use `activations: float16`"),
    "half activations alone": ({"weights": "int4", "activations": "bfloat16"}, "Use `activations: dynamic`"),
    "a crooked group": ({"weights": "int4", "group": 48}, "Use 32, 64 or 128"),
    "a tiny group": ({"weights": "int4", "group": 8}, "greater than or equal to 16"),
    "groups in static int8": ({"group": 64}, "Leave `group` out"),
    "groups in fp8": ({"weights": "fp8", "group": 64}, "Leave `group` out"),
    "zero points in static int8": ({"symmetric": False}, "Leave `symmetric` out"),
    "zero points in nf4": ({"weights": "nf4", "symmetric": False}, "Leave `symmetric` out"),
    "gptq in static int8": ({"rounding": "gptq"}, "Use `rounding: nearest`"),
    "hqq of floats": ({"weights": "fp8", "rounding": "hqq"}, "Use `rounding: nearest`"),
    "an order without gptq": ({"weights": "int4", "column_order": "given"}, "use `rounding: gptq`"),
    "ranges of nothing": ({"weights": "int4", "calibration": "minmax"}, "Leave it out"),
    "a bias of floats": ({"weights": "bfloat16", "bias_correction": True}, "Leave it out"),
    "tables in half": ({"weights": "bfloat16", "embeddings": True}, "Leave `embeddings` out"),
    "a budget without a choice": ({"weights": "int4", "average_bits": 4}, "use `weights: mixed`"),
    "two budgets": ({"weights": "mixed", "average_bits": 4, "least_db": 20}, "Leave one of them out"),
    "integers in a half program": ({"weights": "float16", "layers": {"head": "int8"}}, "Use integer weights"),
    "half precision beside dynamic int8": ({"activations": "dynamic", "rest": "bfloat16"}, "use `activations: int8`"),
    "half precision beside few bits": ({"weights": "int4", "rest": "float16"}, "`weights: float16` changes the whole"),
    "half precision beside itself": ({"weights": "bfloat16", "rest": "bfloat16"}, "Leave it out"),
    "an unknown layer kind": ({"layers": {"head": "mixed"}}, "Input should be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_makes_no_sense_is_refused_with_its_cure(name: str) -> None:
    settings, cure = REFUSED[name]
    with pytest.raises(ValidationError, match=cure):
        Quantize.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "half"),
    [
        ({}, None),
        ({"weights": "int4"}, None),
        ({"weights": "float16"}, "float16"),
        ({"rest": "bfloat16"}, "bfloat16"),
    ],
)
def test_a_program_is_half_wholly_or_beside_int8(settings: dict[str, Any], half: str | None) -> None:
    assert Quantize.model_validate(settings).half == half


def test_rounding_is_for_the_layers_of_few_bits_in_a_static_program_too() -> None:
    settings = Quantize(layers={"head": "int4"}, rounding="gptq", group=32, symmetric=False)
    assert settings.is_static
