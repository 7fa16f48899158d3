"""Rounding that looks at data: what GPTQ and bias correction gain, and where they have nothing to go by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests import models
from tests.workers.passes.quantized_kinds import OWN_WEIGHTS
from tests.workers.quantized import THIRD_PARTY, export, quantize, sqnr

pytestmark = [pytest.mark.filterwarnings(warning) for warning in (*THIRD_PARTY, OWN_WEIGHTS)]


def test_gptq_and_bias_correction_bring_the_outputs_nearer() -> None:
    inputs, unseen = (models.example("concat_cnn", batch=64, seed=seed) for seed in (1, 2))
    program = models.program("concat_cnn")
    ways: dict[str, dict[str, Any]] = {
        "nearest": {}, "corrected": {"bias_correction": True}, "gptq": {"rounding": "gptq"},
    }  # fmt: skip
    found = {}
    for name, settings in ways.items():
        applied = quantize(program, *inputs, weights="int2", activations="float32", **settings)
        with torch.no_grad():
            found[name] = sqnr(program.module()(*unseen), applied.program.module()(*unseen))
    assert found["corrected"] > found["nearest"] + 3
    assert found["gptq"] > found["nearest"] + 3


def test_bias_correction_of_static_int8_gives_a_missing_bias_too() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        program = export(nn.Sequential(nn.Linear(20, 8, bias=False)), torch.randn(3, 20))
    inputs = torch.rand(64, 20, generator=torch.Generator().manual_seed(1)) + 1
    plain, corrected = (quantize(program, inputs, bias_correction=on).program for on in (False, True))
    with torch.no_grad():
        means = [(each.module()(inputs) - program.module()(inputs)).mean(0).abs().max() for each in (plain, corrected)]
    assert means[1] < 0.5 * means[0]


def test_gptq_says_so_where_there_is_nothing_to_weigh() -> None:
    settings = {"weights": "int4", "embeddings": True, "rounding": "gptq"}
    layers = quantize(models.program("encoder"), *models.example("encoder", batch=8), **settings).layers
    assert "nearest, since" in next(layer.reason for layer in layers if layer.layer == "embed")
