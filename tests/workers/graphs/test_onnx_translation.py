"""Operators that torch's ONNX exporter fails at come out as torch computes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from burnish.recipe import Target
from tests.workers.backends.test_openvino import expected
from tests.workers.quantized import THIRD_PARTY, calibration, export
from workers.backends.base import BackendRunner
from workers.backends.onnxruntime import OnnxRuntime
from workers.backends.openvino import OpenVino
from workers.standalone import load_onnxruntime, load_openvino

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

LOADERS = {OnnxRuntime: load_onnxruntime.load, OpenVino: load_openvino.load}
SUBTRACTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a float minus integers": lambda mask: 1.0 - mask,
    "an integer minus integers": lambda mask: 1 - mask,
    "a float minus floats": lambda mask: 2.5 - mask.float(),
    "the batch minus integers": lambda mask: mask.shape[0] - mask,
    "a float minus three times integers": lambda mask: torch.rsub(mask, 0.5, alpha=3),
}


class Subtracting(nn.Module):
    def __init__(self, form: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.form = form

    def forward(self, mask: torch.Tensor) -> torch.Tensor:
        return self.form(mask)


@pytest.mark.parametrize("backend", LOADERS, ids=lambda backend: backend.name)
@pytest.mark.parametrize("form", SUBTRACTIONS)
def test_a_number_minus_a_tensor_is_what_torch_makes_of_it(
    form: str, backend: type[BackendRunner], tmp_path: Path
) -> None:
    mask = torch.arange(24).reshape(4, 6) % 5
    program = export(Subtracting(SUBTRACTIONS[form]), mask)
    lowered = backend().lower(program, Target(), calibration(mask), tmp_path)
    runner = LOADERS[backend](str(lowered.path), threads=1)
    (found,) = runner.arrays(runner.run(runner.prepare([mask.numpy()])))
    torch.testing.assert_close(torch.from_numpy(found.copy()), expected(program, mask)[0])
