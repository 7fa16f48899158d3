from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.recipe import Target
from tests import models
from tests.workers.quantized import THIRD_PARTY, calibration, export, quantize, quantized, sqnr
from workers.backends import onnxruntime as module_under_test
from workers.backends.onnxruntime import OnnxRuntime
from workers.programs import example_inputs
from workers.standalone.load_onnxruntime import load

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

ROUNDING_DB = 40.0
"""Least SQNR of int8 kernels against the quantized program in eager: they differ in how they round ties."""


def lower(program: ExportedProgram, folder: Path, *inputs: torch.Tensor) -> Path:
    given = inputs or example_inputs(program, batch=4, seed=0)
    return OnnxRuntime().lower(program, Target(), calibration(*given), folder).path


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quantized residual CNN as ONNX."""
    return lower(quantized("residual_cnn").program, tmp_path_factory.mktemp("residual"))


def optimized_graph(path: Path, folder: Path) -> onnx.GraphProto:
    """What ONNX Runtime really runs: its graph after optimization."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx").graph


def optimized(path: Path, folder: Path) -> Counter[str]:
    """The operators of that graph."""
    return Counter(node.op_type for node in optimized_graph(path, folder).node)


def weight_scales(graph: onnx.GraphProto) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Shapes of scales and zero points of the weights that integer products of linear layers read, in their order."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    places = {"QGemm": (4, 5), "MatMulIntegerToFloat": (3, 5)}
    found = [(node, places[node.op_type]) for node in graph.node if node.op_type in places]
    return [(shapes[node.input[scale]], shapes[node.input[zero]]) for node, (scale, zero) in found]


@pytest.mark.parametrize("name", ["depthwise_cnn", "concat_cnn", "mlp", "encoder", "lstm"])
def test_int8_outputs_agree_with_the_quantized_program(name: str, tmp_path: Path) -> None:
    program = quantized(name).program
    runner = load(str(lower(program, tmp_path)), threads=1)
    for batch in (1, 5):
        inputs = models.example(name, batch=batch, seed=2)
        with torch.no_grad():
            expected = program.module()(*inputs)
        found = runner.arrays(runner.run(runner.prepare([tensor.numpy() for tensor in inputs])))
        assert sqnr(expected, torch.from_numpy(found[0])) > ROUNDING_DB


def test_float_outputs_agree_with_the_program(tmp_path: Path) -> None:
    runner = load(str(lower(models.program("concat_cnn"), tmp_path)), threads=1)
    inputs = models.example("concat_cnn", batch=7, seed=2)
    with torch.no_grad():
        expected = models.program("concat_cnn").module()(*inputs)
    (found,) = runner.arrays(runner.run(runner.prepare([tensor.numpy() for tensor in inputs])))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_three_calls_on_one_tensor_agree_and_leave_it_unchanged(residual: Path) -> None:
    runner = load(str(residual), threads=1)
    (inputs,) = models.example("residual_cnn", batch=3, seed=2)
    kept = inputs.clone()
    prepared = runner.prepare([inputs.numpy()])
    first, second, third = (runner.arrays(runner.run(prepared))[0] for _ in range(3))
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)
    assert torch.equal(inputs, kept)


def test_every_layer_runs_on_integer_kernels(residual: Path, tmp_path: Path) -> None:
    count = optimized(residual, tmp_path)
    assert count["QLinearConv"] == 8
    assert count["QLinearAdd"] == 3
    assert count["QGemm"] == 1
    assert count["Conv"] == count["FusedConv"] == count["Gemm"] == count["Add"] == 0


def test_linear_layers_on_sequences_run_on_integer_kernels(tmp_path: Path) -> None:
    graph = optimized_graph(lower(quantized("encoder").program, tmp_path), tmp_path)
    count = Counter(node.op_type for node in graph.node)
    assert count["MatMulIntegerToFloat"] == 4
    assert count["QGemm"] == 1
    assert weight_scales(graph) == [((), ())] * 5


def test_a_dense_network_is_one_product_a_layer_with_one_scale_each(tmp_path: Path) -> None:
    graph = optimized_graph(lower(quantized("mlp").program, tmp_path), tmp_path)
    assert [node.op_type for node in graph.node] == ["QuantizeLinear", "QGemm", "QGemm", "QGemm"]
    assert weight_scales(graph) == [((), ())] * 3


def test_rows_that_need_them_keep_scales_of_their_own(tmp_path: Path) -> None:
    layers = nn.Sequential(nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        layers[0].weight[3] *= 0.01
    program = quantize(export(layers, torch.randn(3, 32)), torch.randn(64, 32)).program
    graph = optimized_graph(lower(program, tmp_path), tmp_path)
    assert [node.op_type for node in graph.node] == ["QuantizeLinear", "QGemm", "QGemm"]
    assert weight_scales(graph) == [((8,), (8,)), ((), ())]


def test_int8_files_are_at_least_three_and_a_half_times_smaller(tmp_path: Path) -> None:
    program = export(nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256)), torch.randn(3, 256))
    sizes = []
    for variant in (program, quantize(program, torch.randn(32, 256)).program):
        folder = tmp_path / str(len(sizes))
        folder.mkdir()
        sizes.append(lower(variant, folder).stat().st_size)
    assert sizes[0] > 3.5 * sizes[1]


def test_the_file_names_no_path_and_no_source_line(residual: Path) -> None:
    model = onnx.load(residual)
    assert not model.metadata_props
    assert not model.graph.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    data = residual.read_bytes()
    assert not any(word in data for word in (b".py", b"site-packages", b"stack_trace", b"/home", b"/tmp"))


def test_the_same_program_gives_the_same_bytes(residual: Path, tmp_path: Path) -> None:
    assert lower(quantized("residual_cnn").program, tmp_path).read_bytes() == residual.read_bytes()


def test_the_batch_is_dynamic_and_named(residual: Path) -> None:
    graph = onnx.load(residual).graph
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [value.name for value in graph.input] == ["x"]


def test_usage_lines_run_as_they_stand(residual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert residual.name == OnnxRuntime.filename
    monkeypatch.chdir(residual.parent)
    scope = {"x": models.example("residual_cnn", batch=2)[0].numpy()}
    exec(OnnxRuntime().usage(["x"]), scope)
    assert scope["outputs"][0].shape == (2, 10)


def test_another_device_is_refused() -> None:
    (reason,) = OnnxRuntime().requires(models.program("mlp"), Target(device="cuda"))
    assert "cuda" in reason
    assert "inductor" in reason


def test_weights_over_the_limit_of_one_file_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "FILE_LIMIT", 1000)
    (reason,) = OnnxRuntime().requires(models.program("mlp"), Target())
    assert "2 GiB" in reason


def test_a_small_program_on_the_cpu_is_accepted() -> None:
    assert OnnxRuntime().requires(models.program("mlp"), Target()) == []


class Histogram(nn.Module):
    """Uses an operator that ONNX has no equal of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_that_onnx_lacks_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="bessel_j0") as raised:
        lower(export(Histogram(), torch.randn(3, 4)), tmp_path)
    assert raised.value.__cause__ is not None
