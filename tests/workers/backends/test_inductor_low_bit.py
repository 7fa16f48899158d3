"""Few-bit weights in AOTInductor packages: computed by our kernels, which travel in the package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

import workers.standalone
from burnish.errors import UnsupportedModel
from burnish.recipe import Target
from tests.workers.low_bit_programs import exported, low_bit
from tests.workers.quantized import THIRD_PARTY, calibration, random, sqnr
from workers.backends.base import Lowered
from workers.backends.inductor import Inductor
from workers.backends.kernels import library
from workers.graphs import inductor_low_bit_convolutions
from workers.graphs.inductor_low_bit import lower_low_bit, refusals
from workers.isa import isa
from workers.standalone.load_inductor import load

pytestmark = [
    pytest.mark.usefixtures("loading_here"),
    *(pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY),
    pytest.mark.filterwarnings(
        "ignore:The tensor attributes .*_flat_weights:UserWarning"
    ),  # torch, of recurrent layers
]


class Mixed(nn.Module):
    """Two linear layers that read one tensor, a residual addition, and a convolution, which has no kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 5, 3, padding=1)
        self.left, self.right = nn.Linear(100, 100), nn.Linear(100, 100, bias=False)
        self.head = nn.Linear(100, 37)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv(x))
        return self.head(y + torch.relu(self.left(y)) * self.right(y)).transpose(1, 2)


class Recurrent(nn.Module):
    """Two layers in both directions, the batch first; one layer without biases, the steps first; and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(37, 20, 2, bidirectional=True, batch_first=True)
        self.gru = nn.GRU(40, 33, bias=False)
        self.head = nn.Linear(33, 9)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, (state, cell) = self.lstm(x)
        y, last = self.gru(y.transpose(0, 1))
        return self.head(y), state, cell, last


class Convolutions(nn.Module):
    """Over two dimensions and over one, strided, padded and dilated, and some that stay in float."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 64, 3, padding="same"), nn.Conv2d(64, 256, (3, 4), (2, 1), (1, 2))
        self.depth, self.point = nn.Conv2d(256, 256, 3, groups=256), nn.Conv2d(256, 256, 1)
        self.line = nn.Conv1d(256, 260, 3, padding="same", dilation=2, bias=False)
        self.head = nn.Linear(260, 9)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.depth(torch.relu(self.wide(torch.relu(self.stem(x))))))
        y = torch.relu(self.line(self.point(y).mean(2)))
        return self.head(y.transpose(1, 2))  # type: ignore[no-any-return]


def program(
    module: nn.Module, *shape: int, bits: int = 4, group: int | None = 32, dynamic: bool = True
) -> ExportedProgram:
    x = random(*shape)
    return low_bit(exported(module, x), x, bits=bits, group=group, symmetric=False, dynamic=dynamic)


def lower(source: ExportedProgram, folder: Path, *shape: int) -> Lowered:
    return Inductor().lower(source, Target(), calibration(random(*shape)), folder)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportedProgram, Lowered]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Mixed()
    source = program(module, 3, 3, 100)
    return source, lower(source, tmp_path_factory.mktemp("mixed"), 8, 3, 100)


@pytest.mark.parametrize("batch", [1, 2, 7, 33])
def test_a_package_agrees_with_the_program_at_every_batch_and_every_call(
    mixed: tuple[ExportedProgram, Lowered], batch: int
) -> None:
    source, lowered = mixed
    x = random(batch, 3, 100)
    kept = x.clone()
    with torch.no_grad():
        expected = source.module()(x)
    runner = load(str(lowered.path), threads=1)
    for _ in range(3):
        (found,) = runner.arrays(runner.run(runner.prepare([x.numpy()])))
        # A value that float rounding moves over a tie gets the next of 256 levels, so not every output is equal.
        error = np.square(found - expected.numpy()).sum() / np.square(expected.numpy()).sum()
        assert error < 1e-5
    assert torch.equal(x, kept)


def test_the_codes_lie_in_the_package_in_their_bits(mixed: tuple[ExportedProgram, Lowered]) -> None:
    _, lowered = mixed
    with zipfile.ZipFile(lowered.path) as package:
        code = b"".join(package.read(name) for name in package.namelist())
    assert b"aoti_torch_cpu_addmm_out" not in code
    assert b"mkldnn__linear" not in code


def test_layers_and_how_they_compute_are_named(mixed: tuple[ExportedProgram, Lowered]) -> None:
    _, lowered = mixed
    assert "Computed in 4 bits, inputs int8 per row: left, right, head." in lowered.notes
    assert "Widened to float32 (conv1d of this size gains too little): conv." in lowered.notes


def test_no_path_of_this_machine_is_in_the_package(mixed: tuple[ExportedProgram, Lowered]) -> None:
    _, lowered = mixed
    with zipfile.ZipFile(lowered.path) as package:
        for name in package.namelist():
            held = package.read(name)
            for path in (str(library.SOURCES), str(lowered.path.parent), str(Path(torch.__file__).parents[3])):
                assert path.encode() not in held, f"{path} in {name}"


def test_inputs_of_a_wrong_shape_raise(mixed: tuple[ExportedProgram, Lowered]) -> None:
    runner = load(str(mixed[1].path), threads=1)
    with pytest.raises(RuntimeError):
        runner.run(runner.prepare([random(3, 3, 99).numpy()]))


def test_stock_torch_runs_the_package_with_nothing_of_ours_and_no_compiler(
    mixed: tuple[ExportedProgram, Lowered], tmp_path: Path
) -> None:
    source, lowered = mixed
    x = random(5, 3, 100)
    np.save(tmp_path / "x.npy", x.numpy())
    loader = Path(workers.standalone.__file__).parent
    code = (
        f"import sys; sys.path.insert(0, {str(loader)!r})\n"
        "import numpy, load_inductor\n"
        f"runner = load_inductor.load({str(lowered.path)!r}, 1)\n"
        "(y,) = runner.arrays(runner.run(runner.prepare([numpy.load('x.npy')])))\n"
        "numpy.save('y.npy', y)\n"
        "assert not {'workers', 'burnish', 'torchao'} & {name.split('.')[0] for name in sys.modules}\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, env={"PATH": str(tmp_path)}, check=True)
    with torch.no_grad():
        expected = source.module()(x).numpy()
    assert np.square(np.load(tmp_path / "y.npy") - expected).sum() < 1e-5 * np.square(expected).sum()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportedProgram, Lowered]:
    """Weights of few bits, inputs float."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Recurrent()
    source = program(module, 3, 6, 37, bits=2, group=16, dynamic=False)
    return source, lower(source, tmp_path_factory.mktemp("alone"), 8, 6, 37)


@pytest.mark.parametrize("batch", [1, 7, 33])
def test_weights_alone_in_few_bits_are_computed_with_as_they_are_read(
    alone: tuple[ExportedProgram, Lowered], batch: int
) -> None:
    source, lowered = alone
    assert lowered.notes[0] == "Computed in 2 bits, inputs float32: lstm, gru, head."
    x = random(batch, 6, 37)
    runner = load(str(lowered.path), threads=1)
    with torch.no_grad():
        expected = source.module()(x)
    for found, other in zip(runner.arrays(runner.run(runner.prepare([x.numpy()]))), expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), other, rtol=1e-4, atol=2e-5)


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> tuple[ExportedProgram, Lowered]:
    if "avx2" not in isa():
        pytest.skip("convolutions compute in float on this processor")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Convolutions()
    source = program(module, 3, 3, 9, 10)
    return source, lower(source, tmp_path_factory.mktemp("convolutions"), 8, 3, 9, 10)


@pytest.mark.parametrize("batch", [1, 2, 7, 33])
def test_wide_convolutions_are_computed_with_rounded_samples(
    convolutions: tuple[ExportedProgram, Lowered], batch: int
) -> None:
    source, lowered = convolutions
    assert "Computed in 4 bits, inputs int8 per sample: wide, line." in lowered.notes
    x = random(batch, 3, 9, 10)
    runner = load(str(lowered.path), threads=1)
    with torch.no_grad():
        expected = source.module()(x)
    for _ in range(2):
        (found,) = runner.arrays(runner.run(runner.prepare([x.numpy()])))
        # The program leaves the inputs of convolutions in float: 8 bits over a sample's range are about 40 dB.
        assert sqnr(expected, torch.from_numpy(found)) > 35


def test_convolutions_that_stay_in_float_are_named_with_the_reason(
    convolutions: tuple[ExportedProgram, Lowered],
) -> None:
    notes = convolutions[1].notes
    assert "Widened to float32 (conv2d of this size gains too little): stem, point." in notes
    assert "Widened to float32 (no kernel for conv2d with groups): depth." in notes


@pytest.mark.parametrize(
    ("flags", "kernel", "way"),
    [
        (("avx2", "avx512_vnni"), 1, "computed in 4 bits, inputs int8 per sample"),
        (("avx2",), 3, "computed in 4 bits, inputs int8 per sample"),
        (("avx2",), 1, "widened to float32 (conv1d of this size gains too little)"),
        (("asimd",), 3, "widened to float32 (no kernel for conv1d without AVX2)"),
    ],
)
def test_a_convolution_has_a_kernel_where_that_pays(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], kernel: int, way: str
) -> None:
    monkeypatch.setattr(inductor_low_bit_convolutions, "isa", lambda: flags)
    module = nn.Sequential(nn.Conv1d(512, 512, kernel), nn.AdaptiveAvgPool1d(1), nn.Flatten(1), nn.Linear(512, 4))
    _, kernels = lower_low_bit(program(module, 3, 512, 6), [random(2, 512, 6)])
    assert kernels.ways[way] == ["0"]


def test_a_convolution_whose_program_rounds_no_input_stays_in_float() -> None:
    source = program(nn.Conv1d(256, 256, 3), 3, 256, 4)
    assert refusals(source) == ["no kernel for conv1d with float inputs"]


def test_a_recurrent_layer_with_one_float_matrix_is_named_and_left_alone() -> None:
    source = program(nn.LSTM(16, 16, proj_size=8, batch_first=True), 3, 5, 16)
    (reason,) = Inductor().requires(source, Target())
    assert "projection" in reason


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_linear_layer_of_few_bits_is_accepted(bits: int) -> None:
    assert Inductor().requires(program(nn.Linear(64, 64), 3, 64, bits=bits), Target()) == []


def test_a_program_without_a_layer_for_the_kernels_is_refused_with_what_to_use() -> None:
    source = program(nn.Conv1d(3, 5, 3), 3, 3, 20, group=None)
    (reason,) = Inductor().requires(source, Target())
    assert "no kernel for conv1d with float inputs" in reason
    assert "onnxruntime" in reason


def test_a_compiler_that_fails_on_the_kernels_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="error"):
        library.make_library(tmp_path, ["missing.cpp"], 1)
