"""What torch's ONNX exporter writes wrong graphs for is refused before it does."""

from __future__ import annotations

import pytest
from torch import nn

from burnish.recipe import Target
from tests.workers.passes.coupled_nets import Net, export, rows
from tests.workers.quantized import THIRD_PARTY
from workers.backends.base import BackendRunner
from workers.backends.onnxruntime import OnnxRuntime
from workers.backends.openvino import OpenVino
from workers.graphs.onnx_obstacles import onnx_obstacles

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("backend", [OnnxRuntime, OpenVino])
@pytest.mark.parametrize("bias", [True, False])
def test_an_lstm_with_projections_is_refused_with_the_cure(backend: type[BackendRunner], bias: bool) -> None:
    body = nn.LSTM(6, 8, 2, bias=bias, batch_first=True, bidirectional=True, proj_size=4)
    (reason,) = backend().requires(export(Net(lambda n, x: n.body(x)[0], body=body), rows(4)), Target())
    assert "proj_size" in reason
    assert "Use the inductor backend" in reason


@pytest.mark.parametrize("bias", [True, False])
def test_an_lstm_without_is_not(bias: bool) -> None:
    body = nn.LSTM(6, 8, 2, bias=bias, batch_first=True, bidirectional=True)
    assert onnx_obstacles(export(Net(lambda n, x: n.body(x)[0], body=body), rows(4))) == []
