"""Attention of any rank, and with a mask, comes out of the ONNX exporter as torch computes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from burnish.recipe import Target
from tests.workers.quantized import THIRD_PARTY, calibration, export, random
from workers.backends.onnxruntime import OnnxRuntime
from workers.standalone.load_onnxruntime import load

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

attention = functional.scaled_dot_product_attention
Form = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


class Attention(nn.Module):
    """Queries, keys and values of (batch, 24 tokens, 32), and a learned bias of (4 heads, 6, 6)."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form, self.qkv, self.out = form, nn.Linear(32, 96), nn.Linear(32, 5)
        self.bias = nn.Parameter(random(4, 6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.form(*self.qkv(x).chunk(3, dim=-1), self.bias))  # type: ignore[no-any-return]


def heads(x: torch.Tensor) -> torch.Tensor:
    """4 windows of 6 tokens: (batch, 4 windows, 4 heads, 6, 8)."""
    return x.reshape(-1, 4, 6, 4, 8).transpose(2, 3)


def joined(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(2, 3).reshape(-1, 24, 32)


def merged(x: torch.Tensor) -> torch.Tensor:
    """(batch · windows, heads, 6, 8)."""
    return heads(x).flatten(0, 1)


FORMS: dict[str, Form] = {
    "windows": lambda q, k, v, b: joined(attention(heads(q), heads(k), heads(v))),
    "windows with a bias": lambda q, k, v, b: joined(attention(heads(q), heads(k), heads(v), b)),
    "windows with a bias of each": lambda q, k, v, b: joined(attention(heads(q), heads(k), heads(v), b[:, None])),
    "windows with a mask of tokens": lambda q, k, v, b: joined(attention(heads(q), heads(k), heads(v), b[0])),
    "one head": lambda q, k, v, b: attention(q, k, v),
    "one head with a mask of each sample": lambda q, k, v, b: attention(q, k, v, (q @ k.transpose(1, 2)).relu()),
    "four dimensions with a bias": lambda q, k, v, b: (
        attention(merged(q), merged(k), merged(v), b).transpose(1, 2).reshape(-1, 24, 32)
    ),
    "windows that share keys": lambda q, k, v, b: joined(attention(heads(q), heads(k)[:, :1], heads(v)[:, :1])),
    "queries that are the keys": lambda q, k, v, b: joined(attention(heads(q), heads(q), heads(v))),
}


@pytest.mark.parametrize("form", FORMS)
def test_it_is_lowered_as_torch_computes_it(form: str, tmp_path: Path) -> None:
    model = Attention(FORMS[form]).eval()
    program = export(model, random(4, 24, 32))
    lowered = OnnxRuntime().lower(program, Target(), calibration(random(4, 24, 32)), tmp_path)
    runner = load(str(lowered.path), threads=1)
    for batch in (1, 3):
        x = random(batch, 24, 32)
        (found,) = runner.arrays(runner.run(runner.prepare([x.numpy()])))
        np.testing.assert_allclose(found, model(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_rows_that_see_nothing_become_zero_by_a_product_not_by_a_choice(tmp_path: Path) -> None:
    """OpenVINO 2026.4 could not compile ModernBERT with a choice there."""
    program = export(Attention(FORMS["four dimensions with a bias"]).eval(), random(4, 24, 32))
    lowered = OnnxRuntime().lower(program, Target(), calibration(random(4, 24, 32)), tmp_path)
    operators = {node.op_type for node in onnx.load(lowered.path).graph.node}
    assert "Softmax" in operators
    assert not operators & {"Where", "IsNaN"}
