"""Few bits on real data: handwriting, told apart by a small network that was trained on half of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.export import ExportedProgram

from tests.workers.quantized import THIRD_PARTY, export, quantize

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

TRAINED_ON = 900


@cache
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """1,797 scanned digits of 8 × 8 pixels in 0 … 1, and their classes."""
    data = load_digits()
    return torch.from_numpy(data.images).float()[:, None] / 16, torch.from_numpy(data.target)


@cache
def network() -> ExportedProgram:
    images, classes = (each[:TRAINED_ON] for each in digits())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(8):
            for chosen in torch.randperm(TRAINED_ON).split(60):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images[chosen]), classes[chosen]).backward()
                optimizer.step()
    return export(model, images[:2])


def accuracy(program: ExportedProgram) -> float:
    """On the 897 that it was not trained on."""
    images, classes = (each[TRAINED_ON:] for each in digits())
    module = program.module()
    with torch.no_grad():
        found = torch.cat([module(part).argmax(1) for part in images.split(256)])
    return float((found == classes).float().mean())


@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        ({"weights": "int8", "activations": "dynamic"}, 0.005),
        ({"weights": "int4"}, 0.01),
        ({"weights": "int4", "rounding": "gptq", "bias_correction": True}, 0.005),
        ({"weights": "nf4"}, 0.01),
        ({"weights": "fp8"}, 0.005),
        ({"weights": "bfloat16"}, 0.005),
        ({"weights": "int2", "rounding": "gptq", "bias_correction": True}, 0.05),
        ({"calibration": "percentile"}, 0.005),
        ({"calibration": "entropy", "bias_correction": True}, 0.005),
    ],
)
def test_accuracy_on_unseen_digits_stays_within_the_loss(settings: dict[str, Any], loss: float) -> None:
    before = accuracy(network())
    assert before > 0.93
    applied = quantize(network(), digits()[0][:256], **settings)
    assert accuracy(applied.program) >= before - loss


def test_gptq_keeps_more_of_the_accuracy_than_nearest_at_two_bits() -> None:
    nearest, gptq = (
        accuracy(quantize(network(), digits()[0][:256], weights="int2", rounding=how).program)
        for how in ("nearest", "gptq")
    )
    assert gptq > nearest
