from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.recipe import Target
from tests import models
from tests.workers.quantized import THIRD_PARTY, calibration, export, quantize, random, sqnr
from workers.backends import inductor as module_under_test
from workers.backends.base import Lowered
from workers.backends.inductor import Inductor
from workers.programs import load_program, save_program
from workers.standalone.load_inductor import Runner, load

pytestmark = [
    pytest.mark.usefixtures("loading_here"),
    *(pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY),
]

ROUNDING_DB = 40.0
"""Least SQNR of int8 kernels against the quantized program in eager: they differ in how they round ties."""
BATCHES = (1, 2, 7, 32)


class Residuals(nn.Module):
    """Adds int8 linear layers to the input and to a parameter: traps 1 and 2 of `docs/backends/inductor.md`."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down, self.last = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 32)
        self.place = nn.Parameter(torch.randn(1, 32))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + self.down(torch.relu(self.up(x))), self.place.expand(x.shape[0], 32) + self.last(x)


class Gray(nn.Module):
    """One input channel, a depthwise convolution, and squeeze-and-excite over one pixel: trap 3."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.depth = nn.Conv2d(1, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 2, 1, groups=16)
        self.squeeze, self.excite = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 16, 1)
        self.last, self.head = nn.Conv2d(16, 24, 3, 1, 1), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depth(torch.relu(self.stem(x))))
        weight = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head(torch.relu(self.last(x * weight)).mean((2, 3)))  # type: ignore[no-any-return]


class Transposed(nn.Module):
    """Self-attention with the batch first, whose linear layers read it second, and layers over rows of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.wide, self.narrow = nn.Linear(16, 24), nn.Linear(24, 8, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = self.attention(x).unflatten(2, (16, 2)).permute(0, 3, 1, 2).transpose(2, 3)
        return self.narrow(torch.relu(self.wide(image.transpose(2, 3))).transpose(1, 2))


class Case:
    """A program, what the backend made of it, and the artifact loaded."""

    def __init__(self, program: ExportedProgram, folder: Path) -> None:
        self.program = program
        self.folder = folder
        self.lowered: Lowered = Inductor().lower(program, Target(), calibration(), folder)
        self.runner: Runner = load(str(self.lowered.path), threads=1)

    def expected(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad():
            outputs = self.program.module()(*inputs)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]

    def found(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        prepared = self.runner.prepare([tensor.numpy() for tensor in inputs])
        return [torch.from_numpy(array.copy()) for array in self.runner.arrays(self.runner.run(prepared))]


def seeded(module: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module()


@pytest.fixture(scope="module")
def residuals(tmp_path_factory: pytest.TempPathFactory) -> Case:
    program = quantize(export(seeded(Residuals), random(3, 32)), random(64, 32)).program
    return Case(program, tmp_path_factory.mktemp("residuals"))


@pytest.fixture(scope="module")
def gray(tmp_path_factory: pytest.TempPathFactory) -> Case:
    program = quantize(export(seeded(Gray), random(3, 1, 12, 12)), random(64, 1, 12, 12)).program
    return Case(program, tmp_path_factory.mktemp("gray"))


@pytest.fixture(scope="module")
def transposed(tmp_path_factory: pytest.TempPathFactory) -> Case:
    program = quantize(export(seeded(Transposed), random(3, 6, 32)), random(64, 6, 32)).program
    return Case(program, tmp_path_factory.mktemp("transposed"))


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A float convolution exported with a fixed batch of 4, loaded from an archive without example inputs."""
    folder = tmp_path_factory.mktemp("fixed")
    save_program(torch.export.export(nn.Conv2d(3, 8, 3).eval(), (random(4, 3, 8, 8),)), folder / "program.pt2")
    program = load_program(folder / "program.pt2")
    assert program.example_inputs is None
    (folder / "artifact").mkdir()
    return Case(program, folder / "artifact")


def check_three_calls(case: Case, inputs: torch.Tensor) -> None:
    """The gate of the traps: the same tensor three times, right each time, and unchanged afterwards."""
    kept = inputs.clone()
    expected = case.expected(inputs)
    for _ in range(3):
        for reference, value in zip(expected, case.found(inputs), strict=True):
            assert sqnr(reference, value) > ROUNDING_DB
        assert torch.equal(inputs, kept)


@pytest.mark.parametrize("batch", BATCHES)
def test_residuals_on_inputs_and_parameters_are_right_every_time(residuals: Case, batch: int) -> None:
    check_three_calls(residuals, random(batch, 32))


@pytest.mark.parametrize("batch", BATCHES)
def test_a_one_channel_convolution_is_right_at_every_batch(gray: Case, batch: int) -> None:
    check_three_calls(gray, random(batch, 1, 12, 12))


@pytest.mark.parametrize("batch", BATCHES)
def test_linear_layers_over_a_transposed_input_are_right_at_every_batch(transposed: Case, batch: int) -> None:
    check_three_calls(transposed, random(batch, 6, 32))


def test_linear_layers_and_convolutions_run_on_integer_kernels(residuals: Case, transposed: Case, gray: Case) -> None:
    for case in (residuals, transposed):
        with zipfile.ZipFile(case.lowered.path) as package:
            code = b"".join(package.read(name) for name in package.namelist())
            assert b"qlinear_pointwise_tensor" in code
            assert not [name for name in (b"addmm", b"bmm", b"mm") if b"aoti_torch_cpu_%s_out" % name in code]
    with zipfile.ZipFile(gray.lowered.path) as package:
        code = b"".join(package.read(name) for name in package.namelist())
        assert b"qconv_pointwise_tensor" in code
        assert b"convolution_pointwise" not in code.replace(b"qconv", b"")
        assert b"aoti_torch_cpu_convolution" not in code


def test_each_rewrite_is_noted(residuals: Case, transposed: Case, gray: Case) -> None:
    assert any("3 int8 linear layer(s) read a contiguous copy" in note for note in transposed.lowered.notes)
    assert any("2 residual addition(s)" in note for note in residuals.lowered.notes)
    assert any("1 convolution(s) of one input channel" in note for note in gray.lowered.notes)


def test_the_package_holds_no_sources(gray: Case) -> None:
    with zipfile.ZipFile(gray.lowered.path) as package:
        assert not [name for name in package.namelist() if name.endswith(".cpp")]


def test_nothing_but_the_artifact_is_left_in_the_folder(gray: Case) -> None:
    assert [path.name for path in gray.folder.iterdir()] == [Inductor.filename]


def test_a_float_program_agrees_with_eager(fixed: Case) -> None:
    inputs = random(4, 3, 8, 8)
    torch.testing.assert_close(fixed.found(inputs), fixed.expected(inputs), rtol=1e-4, atol=1e-5)


def test_a_fixed_batch_is_noted_and_another_batch_raises(fixed: Case) -> None:
    assert any("4 samples per call" in note for note in fixed.lowered.notes)
    with pytest.raises(RuntimeError):
        fixed.found(random(3, 3, 8, 8))


def test_usage_lines_run_as_they_stand(fixed: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fixed.folder)
    scope = {"x": random(4, 3, 8, 8)}
    exec(Inductor().usage(["x"]), scope)
    assert scope["outputs"].shape == (4, 8, 6, 6)


def test_a_device_without_code_generation_is_refused() -> None:
    (reason,) = Inductor().requires(models.program("mlp"), Target(device="npu"))
    assert "onnxruntime" in reason


def test_a_cuda_target_is_refused_where_there_is_no_such_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (reason,) = Inductor().requires(models.program("mlp"), Target(device="cuda"))
    assert "CUDA" in reason


def test_a_machine_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (reason,) = Inductor().requires(models.program("mlp"), Target())
    assert "Install g++" in reason


def test_a_sound_program_on_the_cpu_is_accepted() -> None:
    assert Inductor().requires(models.program("mlp"), Target()) == []


def test_what_the_compiler_says_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no lowering for aten.special\nand a page more")

    monkeypatch.setattr(module_under_test.torch._inductor, "aoti_compile_and_package", refuse)
    with pytest.raises(UnsupportedModel, match=r"no lowering for aten\.special") as raised:
        Inductor().lower(models.program("mlp"), Target(), calibration(), tmp_path)
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_a_program_from_the_store_is_lowered_though_its_sample_inputs_were_stripped(tmp_path: Path) -> None:
    save_program(models.program("mlp"), tmp_path / "program.pt2")
    program = load_program(tmp_path / "program.pt2")
    assert program.example_inputs is None
    case = Case(program, tmp_path)
    x = models.example("mlp", batch=7)
    torch.testing.assert_close(case.found(*x), case.expected(*x))
