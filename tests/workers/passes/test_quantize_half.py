"""Half precision: what is refused, and what stays float32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from burnish.passes import Quantize
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS
from tests.workers.quantized import THIRD_PARTY, export, quantize
from workers.passes.quantize import QuantizePass

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


def test_a_model_without_weights_is_refused_for_half_precision_too() -> None:
    (reason,) = QuantizePass().requires(export(nn.ReLU(), torch.randn(3, 4)), Quantize(weights="bfloat16"))
    assert "Leave `quantize` out" in reason


def test_control_flow_is_refused_for_half_precision_with_a_cure() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.linear(x)
            return torch.cond(y.sum() > 0, lambda z: z.sin(), lambda z: z.cos(), (y,))  # type: ignore[no-any-return]

    with torch.no_grad():
        program = torch.export.export(Branching(), (torch.randn(3, 4),))
    (reason,) = QuantizePass().requires(program, Quantize(weights="float16"))
    assert "Use integer weights" in reason


def test_a_weight_beyond_float16_stays_float32() -> None:
    large = nn.Linear(4, 4)
    nn.init.constant_(large.weight, 1e5)
    applied = quantize(
        export(nn.Sequential(large, nn.Linear(4, 4)), torch.randn(3, 4)), torch.randn(8, 4), weights="float16"
    )
    assert [layer.treatment for layer in applied.layers] == ["left alone", "float16"]
    assert "beyond 65504" in applied.layers[0].reason
    assert applied.program.state_dict["0.weight"].dtype is torch.float32
