"""What counts as quantized already, and what is a model's own small number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from burnish.passes import Quantize
from tests import models
from tests.workers.passes.quantized_kinds import KINDS, OWN_WEIGHTS, made
from tests.workers.quantized import THIRD_PARTY, export, quantize, random, sqnr
from workers.passes.quantize import QuantizePass

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


class OneHalf(nn.Module):
    """A layer in bfloat16 between two in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(32, 64), nn.Linear(64, 64).bfloat16(), nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.first(x).relu().bfloat16()).float().relu())  # type: ignore[no-any-return]


class Signs(nn.Module):
    """A stored tensor of int8 that is no weight of a layer."""

    signs: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("signs", (random(32) > 0).to(torch.int8) * 2 - 1)
        self.first, self.last = nn.Linear(32, 64), nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x * self.signs).relu())  # type: ignore[no-any-return]


@pytest.mark.parametrize("weights", ["int8", "int4", "bfloat16"])
@pytest.mark.parametrize("kind", [OneHalf, Signs])
def test_a_models_own_small_numbers_do_not_keep_its_other_layers_from_being_treated(
    kind: type[nn.Module], weights: str
) -> None:
    program, inputs = export(kind(), random(4, 32)), random(40, 32)
    applied = quantize(program, inputs, weights=weights)
    layers = {layer.layer: layer for layer in applied.layers}
    assert layers["first"].treatment == layers["last"].treatment == weights
    if kind is OneHalf:
        assert (layers["middle"].treatment, "bfloat16, not float32" in layers["middle"].reason) == ("left alone", True)
    assert sqnr(program.module()(inputs), applied.program.module()(inputs)) > 15


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_run_leaves_every_kind_as_it_is(kind: str) -> None:
    once = made("mlp", kind).program
    for settings in (Quantize(), Quantize(weights="int4"), Quantize(weights="float16")):
        assert QuantizePass().requires(once, settings) == []
    again = quantize(once, *models.example("mlp", batch=8))
    assert (again.changed, again.program) == (False, once)
    assert "already" in str(again.why_unchanged)


def test_a_model_all_in_half_precision_is_told_so() -> None:
    program = export(nn.Linear(8, 4).bfloat16(), random(4, 8).bfloat16())
    applied = quantize(program, random(8, 8).bfloat16())
    assert applied.why_unchanged == "The model's weights are bfloat16 already, and it stays as it is."
