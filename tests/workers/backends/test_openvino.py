from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.recipe import Target
from tests import models
from tests.workers.graphs.test_low_bit import editable, rounded, weight_node
from tests.workers.quantized import THIRD_PARTY, calibration, export, quantized, sqnr
from workers.backends.openvino import OpenVino
from workers.graphs.low_bit import round_input, write_weight
from workers.graphs.reexport import reexport
from workers.standalone.load_openvino import load

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

ROUNDING_DB = 40.0
"""Least SQNR of int8 kernels against the quantized program in eager: they differ in how they round ties."""
SCALE_DB = 60.0
"""Least SQNR of low-bit weights: their scales are stored in float16, which rounds at 2⁻¹²."""
DYNAMIC_DB = 30.0
"""Least SQNR where inputs are rounded to int8: per row in the program, per group and symmetrically in OpenVINO."""


def lower(program: ExportedProgram, folder: Path, target: Target | None = None) -> Path:
    return OpenVino().lower(program, target or Target(), calibration(), folder).path


def run(path: Path, *inputs: torch.Tensor) -> list[torch.Tensor]:
    runner = load(str(path), threads=1)
    prepared = runner.prepare([tensor.numpy() for tensor in inputs])
    return [torch.from_numpy(array.copy()) for array in runner.arrays(runner.run(prepared))]


def expected(program: ExportedProgram, *inputs: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        outputs = program.module()(*inputs)
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def config(path: Path) -> dict[str, object]:
    with zipfile.ZipFile(path) as archive:
        found: dict[str, object] = json.loads(archive.read("model.json"))
    return found


def kernels(path: Path) -> Counter[tuple[str, str]]:
    """Layer and type of the weights of what OpenVINO really runs."""
    with zipfile.ZipFile(path) as archive:
        graph, weights, options = (archive.read(f"model.{kind}") for kind in ("xml", "bin", "json"))
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(graph, weights), "CPU", json.loads(options))
    described = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    return Counter((one["layerType"].astype(str), one["runtimePrecision"].astype(str)) for one in described)


def low_bit(
    layer: nn.Module, example: torch.Tensor, names: Sequence[str], bits: int, *, symmetric: bool, dynamic: bool = False
) -> ExportedProgram:
    """`layer` exported, with these of its weights in low-bit form and groups of 32."""
    program = export(layer, example)
    module = editable(program)
    parameters = dict(layer.named_parameters())
    for name in names:
        node = weight_node(module, name)
        users = list(node.users)
        write_weight(module, node, rounded(parameters[name], bits, 32, symmetric))
        if dynamic:
            for user in users:
                round_input(module, user)
    return reexport(module, program, [example])


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quantized residual CNN."""
    return lower(quantized("residual_cnn").program, tmp_path_factory.mktemp("residual"))


@pytest.mark.parametrize("name", ["depthwise_cnn", "concat_cnn", "mlp", "encoder", "lstm"])
def test_int8_outputs_agree_with_the_quantized_program(name: str, tmp_path: Path) -> None:
    program = quantized(name).program
    path = lower(program, tmp_path)
    for batch in (1, 5):
        inputs = models.example(name, batch=batch, seed=2)
        assert sqnr(expected(program, *inputs)[0], run(path, *inputs)[0]) > ROUNDING_DB


@pytest.mark.parametrize("name", ["concat_cnn", "lstm"])
def test_float_outputs_agree_with_the_program(name: str, tmp_path: Path) -> None:
    inputs = models.example(name, batch=7, seed=2)
    found = run(lower(models.program(name), tmp_path), *inputs)
    torch.testing.assert_close(found, expected(models.program(name), *inputs), rtol=1e-4, atol=1e-5)


def test_three_calls_on_one_tensor_agree_and_leave_it_unchanged(residual: Path) -> None:
    runner = load(str(residual), threads=1)
    (inputs,) = models.example("residual_cnn", batch=3, seed=2)
    kept = inputs.clone()
    prepared = runner.prepare([inputs.numpy()])
    first, second, third = (runner.arrays(runner.run(prepared))[0].copy() for _ in range(3))
    assert np.array_equal(first, second)
    assert np.array_equal(first, third)
    assert torch.equal(inputs, kept)


def test_every_layer_runs_on_integer_kernels(residual: Path) -> None:
    count = kernels(residual)
    assert count["Convolution", "u8"] == 8
    assert count["FullyConnected", "u8"] == 1
    assert count["Convolution", "f32"] == count["FullyConnected", "f32"] == 0


def test_an_lstm_stays_one_layer(tmp_path: Path) -> None:
    assert kernels(lower(models.program("lstm"), tmp_path))["RNNSeq", "f32"] == 1


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "held"), [(2, "u2"), (3, "4"), (4, "4"), (8, "8")])
def test_matrix_products_read_low_bit_weights_packed(bits: int, held: str, symmetric: bool, tmp_path: Path) -> None:
    program = low_bit(nn.Linear(128, 96), torch.randn(3, 128), ["weight"], bits, symmetric=symmetric)
    path = lower(program, tmp_path)
    x = torch.randn(5, 128)
    assert sqnr(expected(program, x)[0], run(path, x)[0]) > SCALE_DB
    (precision,) = (kind for layer, kind in kernels(path) if layer == "FullyConnected")
    assert precision == (held if bits == 2 else f"{'i' if symmetric else 'u'}{held}")
    with zipfile.ZipFile(path) as archive:
        stored = 4 if bits == 3 else bits
        assert archive.getinfo("model.bin").file_size < 96 * 128 * stored / 8 + 4 * 96 * 4 + 96 * 4 + 200


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(32, 64, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lstm(x)[0]  # type: ignore[no-any-return]


LAYERS: dict[str, tuple[nn.Module, torch.Tensor, list[str]]] = {
    "linear on sequences": (nn.Linear(64, 32), torch.randn(3, 7, 64), ["weight"]),
    "convolution": (nn.Conv2d(3, 8, 3), torch.randn(3, 3, 8, 8), ["weight"]),
    "embedding": (nn.Embedding(50, 64), torch.randint(0, 50, (3, 5)), ["weight"]),
    "lstm": (Recurrent(), torch.randn(3, 6, 32), ["lstm.weight_ih_l0", "lstm.weight_hh_l0"]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_low_bit_weights_of_every_layer_agree_at_several_batches(name: str, tmp_path: Path) -> None:
    layer, example, names = LAYERS[name]
    program = low_bit(layer, example, names, 4, symmetric=False)
    path = lower(program, tmp_path)
    for batch in (1, 5):
        x = example[:1].expand(batch, *example.shape[1:]).contiguous()
        assert sqnr(expected(program, x)[0], run(path, x)[0]) > SCALE_DB


def test_zeros_outside_the_range_of_the_codes_are_kept(tmp_path: Path) -> None:
    layer = nn.Linear(32, 4)
    program = export(layer, torch.randn(3, 32))
    module = editable(program)
    weight = rounded(layer.weight, 4, 32, symmetric=False)
    assert weight.zeros is not None
    weight.zeros[0] = 40
    write_weight(module, weight_node(module, "weight"), weight)
    program = reexport(module, program, [torch.randn(3, 32)])
    x = torch.randn(3, 32)
    assert sqnr(expected(program, x)[0], run(lower(program, tmp_path), x)[0]) > SCALE_DB


def test_scales_too_small_for_float16_are_kept(tmp_path: Path) -> None:
    layer = nn.Linear(32, 4)
    with torch.no_grad():
        layer.weight.mul_(1e-6)
    program = low_bit(layer, torch.randn(3, 32), ["weight"], 4, symmetric=True)
    with torch.no_grad():
        layer.weight.mul_(1e6)
    x = 1e6 * torch.randn(3, 32)
    assert sqnr(expected(program, x)[0], run(lower(program, tmp_path), x)[0]) > SCALE_DB


def test_inputs_rounded_row_by_row_are_left_to_the_kernels(tmp_path: Path) -> None:
    layer = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    program = low_bit(layer, torch.randn(3, 64), ["0.weight", "2.weight"], 4, symmetric=True, dynamic=True)
    path = lower(program, tmp_path)
    assert config(path)["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == 32
    x = torch.randn(5, 64)
    assert sqnr(expected(program, x)[0], run(path, x)[0]) > DYNAMIC_DB


def test_inputs_are_not_rounded_where_not_every_layer_asks_for_it(tmp_path: Path) -> None:
    layer = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    program = low_bit(layer, torch.randn(3, 64), ["0.weight", "2.weight"], 4, symmetric=True)
    assert config(lower(program, tmp_path))["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == 0
    module = editable(program)
    round_input(module, next(node for node in module.graph.nodes if node.target is torch.ops.aten.linear.default))
    mixed = reexport(module, program, [torch.randn(3, 64)])
    lowered = OpenVino().lower(mixed, Target(), calibration(), tmp_path)
    assert config(lowered.path)["DYNAMIC_QUANTIZATION_GROUP_SIZE"] == 0
    assert any("for all low-bit layers or for none" in note for note in lowered.notes)


class Bfloat16(nn.Module):
    """A convolution and a linear layer in bfloat16 between float32 ends."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.bfloat16()).float()  # type: ignore[no-any-return]


def test_bfloat16_is_an_option_only_of_programs_that_ask_for_it(residual: Path, tmp_path: Path) -> None:
    x = torch.randn(3, 3, 8, 8)
    program = export(Bfloat16(), x)
    path = lower(program, tmp_path)
    assert config(path)["INFERENCE_PRECISION_HINT"] == "bf16"
    assert sqnr(expected(program, x)[0], run(path, x)[0]) > 30
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("model.bin").file_size < 2 * (8 * 27 + 8 * 36 * 5 + 13) + 200
    assert config(residual)["INFERENCE_PRECISION_HINT"] == "f32"


def test_threads_are_those_of_the_target_and_stay_on_the_cores_they_were_given(residual: Path, tmp_path: Path) -> None:
    path = lower(models.program("mlp"), tmp_path, Target(threads=3))
    assert config(path)["INFERENCE_NUM_THREADS"] == 3
    assert config(path)["ENABLE_CPU_PINNING"] is False


def test_the_same_program_gives_the_same_bytes(residual: Path, tmp_path: Path) -> None:
    assert lower(quantized("residual_cnn").program, tmp_path).read_bytes() == residual.read_bytes()


def test_nothing_but_the_artifact_is_left_in_the_folder(residual: Path) -> None:
    assert [path.name for path in residual.parent.iterdir()] == [OpenVino.filename]


def test_the_file_names_no_path_and_no_source_line(residual: Path) -> None:
    data = residual.read_bytes()
    assert not any(word in data for word in (b".py", b"site-packages", b"stack_trace", b"/home", b"/tmp"))


class Pair(nn.Module):
    """Two inputs, of which one is used only in part, and two outputs, one of them an integer."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return a + b.sum(1, keepdim=True), a.argmax(1)


def test_inputs_and_outputs_keep_their_order_and_types(tmp_path: Path) -> None:
    batch = Dim("batch", min=1, max=8)
    inputs = (torch.randn(3, 4), torch.randint(0, 9, (3, 2)))
    program = torch.export.export(Pair(), inputs, dynamic_shapes=({0: batch}, {0: batch}))
    found = run(lower(program, tmp_path), *inputs)
    torch.testing.assert_close(found, expected(program, *inputs))


def test_usage_lines_run_as_they_stand(residual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert residual.name == OpenVino.filename
    monkeypatch.chdir(residual.parent)
    scope = {"x": models.example("residual_cnn", batch=2)[0].numpy()}
    exec(OpenVino().usage(["x"]), scope)
    assert scope["outputs"][0].shape == (2, 10)


@pytest.mark.parametrize("module", ["workers.standalone.load_openvino", "workers.backends.openvino"])
def test_nothing_reports_home(module: str, residual: Path) -> None:
    loads = f"found.load({str(residual)!r}, 1)" if "load" in module else "found.OpenVino()"
    program = (
        f"import importlib, sys; found = importlib.import_module({module!r}); {loads}; "
        "assert 'openvino' in sys.modules; assert 'openvino_telemetry.main' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)


def test_another_device_is_refused() -> None:
    (reason,) = OpenVino().requires(models.program("mlp"), Target(device="cuda"))
    assert "cuda" in reason
    assert "inductor" in reason


def test_a_program_on_the_cpu_is_accepted() -> None:
    assert OpenVino().requires(models.program("mlp"), Target()) == []


class Bessel(nn.Module):
    """Uses an operator that ONNX has no equal of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_an_operator_that_onnx_lacks_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="bessel_j0") as raised:
        lower(export(Bessel(), torch.randn(3, 4)), tmp_path)
    assert raised.value.__cause__ is not None


class Complex(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.det(x)


def test_an_operator_that_openvino_lacks_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="Det"):
        lower(export(Complex(), torch.randn(3, 4, 4)), tmp_path)
