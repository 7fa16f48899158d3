"""Attention on OpenVINO: of every kind as in torch, and one kernel each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from tests.workers.backends.test_openvino import config, expected, kernels, lower, run
from tests.workers.quantized import THIRD_PARTY, export, random

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

BATCH, HEADS, STEPS, WIDTH = 2, 4, 6, 8


class Attention(nn.Module):
    """(batch, 4, 6, 8): queries of `x`, `heads` of it with `keys` steps as keys and values."""

    def __init__(self, heads: int = HEADS, keys: int = STEPS, mask: torch.Tensor | None = None, **options: Any) -> None:
        super().__init__()
        self.heads, self.keys, self.mask, self.options = heads, keys, mask, options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        key = x[:, : self.heads, : self.keys]
        return scaled_dot_product_attention(x, key, key.flip(-1), self.mask, **self.options)


class Rows(nn.Module):
    """(batch, 6, 8): attention without heads."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(x, x, x)


EMPTY_ROW = torch.arange(STEPS * STEPS).reshape(STEPS, STEPS) % 3 > torch.tensor([[3], [0], [1], [0], [1], [0]])


@pytest.mark.parametrize(
    "attention",
    [
        Attention(),
        Attention(scale=0.3),
        Attention(mask=random(STEPS, STEPS)),
        Attention(is_causal=True),
        Attention(is_causal=True, keys=4),
        Attention(mask=EMPTY_ROW),
        Attention(mask=EMPTY_ROW[None, None], heads=2, enable_gqa=True),
        Attention(heads=2, enable_gqa=True),
        Attention(heads=1, is_causal=True, enable_gqa=True),
    ],
    ids=[
        "plain",
        "scale",
        "mask",
        "causal",
        "fewer-keys",
        "truth-values",
        "shared-truth-values",
        "shared",
        "shared-causal",
    ],
)
def test_attention_of_every_kind_agrees_with_torch(attention: nn.Module, tmp_path: Path) -> None:
    x = random(BATCH, HEADS, STEPS, WIDTH)
    program = export(attention, x)
    found = run(lower(program, tmp_path), 3 * x[:1])
    torch.testing.assert_close(found, expected(program, 3 * x[:1]), rtol=1e-5, atol=1e-5)


def test_attention_without_heads_agrees_with_torch(tmp_path: Path) -> None:
    x = random(BATCH, STEPS, WIDTH)
    program = export(Rows(), x)
    torch.testing.assert_close(run(lower(program, tmp_path), x), expected(program, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_one_kernel_with_one_factor_before_it(causal: bool, tmp_path: Path) -> None:
    x = random(BATCH, HEADS, STEPS, WIDTH)
    path = lower(export(Attention(is_causal=causal), x), tmp_path)
    count = Counter({kind: number for (kind, _), number in kernels(path).items()})
    assert count["Subgraph"] == count["Eltwise"] == 1
    assert count["Softmax"] == count["MatMul"] == count["Transpose"] == 0


def test_attention_in_bfloat16_agrees_with_the_program(tmp_path: Path) -> None:
    class Half(Attention):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.bfloat16()).float()

    x = random(BATCH, HEADS, STEPS, WIDTH)
    program = export(Half(is_causal=True), x)
    path = lower(program, tmp_path)
    torch.testing.assert_close(run(path, x), expected(program, x), rtol=0.02, atol=0.02)
    assert config(path)["INFERENCE_PRECISION_HINT"] == "bf16"
