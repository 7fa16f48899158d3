"""Attention whose mask hides every key gives zeros in every runtime, as it does in torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from burnish.recipe import Target
from tests.workers.quantized import THIRD_PARTY, calibration, export, random
from workers.backends.base import BackendRunner
from workers.backends.onnxruntime import OnnxRuntime
from workers.backends.openvino import OpenVino
from workers.standalone import load_onnxruntime, load_openvino

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

LOADERS = {OnnxRuntime: load_onnxruntime.load, OpenVino: load_openvino.load}


class Padded(nn.Module):
    """Two layers of attention of 4 heads over 6 tokens; a token whose features are all zero is padding.

    Args:
        added: the mask is added, -∞ where a token is hidden; else it is true where one is seen.
        near: a token sees those before and behind it alone, so that each row has a mask of its own.
    """

    def __init__(self, added: bool, near: bool) -> None:
        super().__init__()
        self.added, self.near, self.head = added, near, nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        there = (x != 0).any(-1)[:, None, None]
        if self.near:
            places = torch.arange(6)
            there = there & ((places - places[:, None]).abs() < 2)
        mask = torch.zeros(1, 1, 1, 6).masked_fill(~there, -torch.inf) if self.added else there
        heads = x.unflatten(-1, (4, 2)).transpose(1, 2)
        for _ in range(2):
            heads = scaled_dot_product_attention(heads, heads, heads, mask)
        return self.head(heads.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def padded(batch: int) -> torch.Tensor:
    """Samples that end in padding; the last one is nothing else."""
    x = random(batch, 6, 8)
    x[0, 4:], x[-1] = 0.0, 0.0
    return x


@pytest.mark.usefixtures("loading_here")
@pytest.mark.parametrize("near", [False, True], ids=["every token", "near tokens"])
@pytest.mark.parametrize("added", [False, True], ids=["booleans", "minus infinity"])
@pytest.mark.parametrize("backend", LOADERS, ids=lambda backend: backend.name)
def test_a_sample_of_padding_alone_gives_what_it_gives_in_torch(
    backend: type[BackendRunner], added: bool, near: bool, tmp_path: Path
) -> None:
    program = export(Padded(added, near), padded(4))
    lowered = backend().lower(program, Target(), calibration(padded(4)), tmp_path)
    runner = LOADERS[backend](str(lowered.path), threads=1)
    for batch in (1, 3):
        (given,) = runner.arrays(runner.run(runner.prepare([padded(batch).numpy()])))
        torch.testing.assert_close(
            torch.from_numpy(given.copy()), program.module()(padded(batch)), rtol=1e-4, atol=1e-5
        )


class FarApart(nn.Module):
    """Scores of -128 under a mask that hides every key, in float16, whose least number is -65504."""

    def __init__(self, added: bool) -> None:
        super().__init__()
        self.added = added

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        there = (x != 4)[:, None, :, 0]
        mask = torch.zeros(1, 1, 6).masked_fill(~there, -torch.inf).half() if self.added else there
        x = x.half()
        return scaled_dot_product_attention(x, -x, x, mask).float()


@pytest.mark.parametrize("added", [False, True], ids=["booleans", "minus infinity"])
def test_a_blind_row_in_float16_is_a_number(added: bool, tmp_path: Path) -> None:
    """By the reference of the ONNX standard, which computes in float16 what runtimes here widen."""
    x = torch.full((3, 6, 64), 4.0)
    lowered = OnnxRuntime().lower(export(FarApart(added), x), Target(), calibration(x), tmp_path)
    reference = ReferenceEvaluator(str(lowered.path))
    (given,) = reference.run(None, {reference.input_names[0]: x.numpy()})
    assert (given == 0.0).all()
