"""Static int8 with half precision beside it: what computes in which, and that backends agree."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.recipe import Target
from tests import models
from tests.workers.backends.test_openvino import config, expected, kernels, lower, run
from tests.workers.quantized import THIRD_PARTY, calibration, export, quantize, random, sqnr
from workers.backends.inductor import Inductor
from workers.backends.onnxruntime import OnnxRuntime
from workers.passes.base import Applied
from workers.standalone import load_inductor, load_onnxruntime

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

LEAST_DB = 25.0
"""bfloat16 rounds at 2⁻⁹, and a step of int8 falls the other way here and there."""


class Block(nn.Module):
    """(batch, 6, 32): attention of 4 heads and what follows it, with layers by name."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.up, self.down, self.head = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (each.unflatten(-1, (4, 8)).mT for each in self.qkv(self.norm(x)).chunk(3, dim=-1))
        x = x + self.out(nn.functional.scaled_dot_product_attention(query, key, value).mT.flatten(-2))
        return self.head(x + self.down(nn.functional.gelu(self.up(x))))  # type: ignore[no-any-return]


@cache
def block() -> ExportedProgram:
    torch.manual_seed(0)
    return export(Block(), random(4, 6, 32))


@cache
def beside(rest: str, head: str = "int8") -> Applied:
    layers = {"head": head} if head != "int8" else {}
    return quantize(block(), random(64, 6, 32), rest=rest, layers=layers)


def types(program: ExportedProgram, name: str) -> set[torch.dtype]:
    return {node.meta["val"].dtype for node in program.graph.nodes if f".{name}." in f".{node.target}."}


@pytest.mark.parametrize(("rest", "dtype"), [("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_int8_layers_stay_int8_and_attention_is_half(rest: str, dtype: torch.dtype) -> None:
    applied = beside(rest)
    assert {layer.treatment for layer in applied.layers if layer.bytes_before} == {"int8"}
    assert types(applied.program, "scaled_dot_product_attention") == {dtype}
    assert types(applied.program, "add") == {dtype, torch.float32}, "the second is only quantized"
    assert types(applied.program, "linear") == types(applied.program, "layer_norm") == {torch.float32}
    assert types(applied.program, "gelu") == {torch.float32}, "between a dequantized tensor and the next quantized one"
    assert applied.figures["tensors_quantized"] == beside("float32").figures["tensors_quantized"]


def test_a_layer_that_the_settings_leave_alone_stays_float32_and_one_without_int8_kernel_is_half() -> None:
    left = beside("bfloat16", head="float32").layers[-1]
    assert (left.layer, left.treatment, left.reason) == ("head", "left alone", "the settings leave it alone")
    layers = quantize(models.program("lstm"), *models.example("lstm", 64), rest="bfloat16").layers
    assert {layer.treatment for layer in layers} == {"int8", "bfloat16"}


def test_the_outputs_are_those_of_static_int8_to_bfloat16() -> None:
    x = random(32, 6, 32)
    (wanted,), (found,) = expected(beside("float32").program, x), expected(beside("bfloat16").program, x)
    assert found.dtype is torch.float32
    assert LEAST_DB < sqnr(wanted, found) < 60.0


def test_a_convolutional_network_that_is_int8_throughout_is_the_same_program() -> None:
    inputs = models.example("residual_cnn", batch=64, seed=1)
    given = models.program("residual_cnn")
    plain, rest = (quantize(given, *inputs, rest=rest).program for rest in ("float32", "bfloat16"))
    assert [str(node.target) for node in plain.graph.nodes if node.op == "call_function"] == [
        str(node.target) for node in rest.graph.nodes if node.op == "call_function"
    ]


def test_openvino_computes_in_int8_and_is_told_to_compute_the_rest_in_bfloat16(tmp_path: Path) -> None:
    program, x = beside("bfloat16").program, random(3, 6, 32)
    path = lower(program, tmp_path)
    assert config(path)["INFERENCE_PRECISION_HINT"] == "bf16"
    assert sum(number for (_, kind), number in kernels(path).items() if kind in ("i8", "u8")) >= 5
    assert sqnr(expected(program, x)[0], run(path, x)[0]) > LEAST_DB


def test_onnxruntime_and_inductor_agree_with_the_program(tmp_path: Path) -> None:
    program, x = beside("bfloat16").program, random(3, 6, 32)
    (wanted,) = expected(program, x)
    for backend, load in ((OnnxRuntime(), load_onnxruntime.load), (Inductor(), load_inductor.load)):
        (folder := tmp_path / backend.name).mkdir()
        runner = load(str(backend.lower(program, Target(), calibration(x), folder).path), threads=1)
        (found,) = runner.arrays(runner.run(runner.prepare([x.numpy()])))
        assert sqnr(wanted, torch.from_numpy(found.copy())) > LEAST_DB, backend.name
