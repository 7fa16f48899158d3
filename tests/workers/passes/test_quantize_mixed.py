"""Mixed bits through the pass: the profile decides, and the report says so."""

from __future__ import annotations

from typing import Any

import pytest

from burnish.errors import InternalError
from burnish.passes import Quantize
from tests import models
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS, made
from tests.workers.quantized import THIRD_PARTY, calibration, context
from workers.passes.base import Applied, PassContext
from workers.passes.quantize import QuantizePass
from workers.profile import LayerProfile, Profile

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


def profile(model: str) -> Profile:
    names = [layer.layer for layer in made(model, "int4").layers if layer.treatment == "int4"]
    layers = tuple(
        LayerProfile(
            name=name,
            op="linear",
            parameters=100,
            flops=1,
            seconds=0.001,
            errors={"int8": 50.0, "int4": 30.0 - place, "int2": 10.0 - place},
        )
        for place, name in enumerate(names)
    )
    return Profile(layers=layers, seconds=0.01, batch=1, threads=1, bfloat16=False)


def mixed(found: Profile | None, **settings: Any) -> Applied:
    given = context(models.program("encoder"), calibration(*models.example("encoder", batch=8)))
    filled = PassContext(**{**vars(given), "profile": found})
    return QuantizePass().apply(
        models.program("encoder"), Quantize.model_validate({"weights": "mixed", **settings}), filled
    )


def test_mixed_bits_follow_the_profile_and_say_why() -> None:
    applied = mixed(profile("encoder"), average_bits=5, layers={"head": "fp8"})
    kinds = {layer.layer: layer.treatment for layer in applied.layers if layer.treatment != "left alone"}
    assert kinds["head"] == "fp8"
    assert len({kind for name, kind in kinds.items() if name != "head"}) > 1
    for layer in applied.layers:
        if layer.treatment.startswith("int"):
            assert "within an average of 5 bits" in layer.reason
            assert layer.seconds == 0.001


def test_mixed_bits_without_a_profile_are_our_own_fault() -> None:
    with pytest.raises(InternalError, match="without a profile"):
        mixed(None)
