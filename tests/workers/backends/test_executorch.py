from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.recipe import Target
from tests import models
from tests.workers.quantized import THIRD_PARTY, calibration, export, quantize, quantized, random, sqnr
from workers.backends import executorch as module_under_test
from workers.backends.executorch import ExecuTorch
from workers.measure.contender import Contender, loader_of
from workers.programs import batch_range

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]

needs_executorch = pytest.mark.skipif(
    importlib.util.find_spec("executorch") is None, reason="executorch is not installed: pip install 'burnish[phone]'"
)


def low_bit(name: str, **settings: object) -> ExportedProgram:
    """A shared model in few bits."""
    return quantize(models.program(name), *models.example(name, batch=64, seed=1), **settings).program


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if ExecuTorch were there."""
    monkeypatch.setattr(module_under_test.importlib.util, "find_spec", lambda name: object())


def test_a_worker_without_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test.importlib.util, "find_spec", lambda name: None)
    (reason,) = ExecuTorch().requires(models.program("mlp"), Target())
    assert "burnish[phone]" in reason


@pytest.mark.usefixtures("installed")
def test_a_float_program_on_the_cpu_is_accepted() -> None:
    assert ExecuTorch().requires(models.program("residual_cnn"), Target()) == []


@pytest.mark.usefixtures("installed")
def test_a_quantized_program_is_accepted_if_a_layer_of_it_has_a_kernel() -> None:
    assert ExecuTorch().requires(quantized("mlp").program, Target()) == []
    assert ExecuTorch().requires(low_bit("mlp", weights="int4"), Target()) == []


@pytest.mark.usefixtures("installed")
def test_weights_that_would_all_be_widened_are_refused_with_the_reason_and_what_to_use_instead() -> None:
    (reason,) = ExecuTorch().requires(low_bit("mlp", weights="nf4"), Target())
    assert "nf4" in reason
    assert "onnxruntime" in reason


@pytest.mark.usefixtures("installed")
def test_another_device_is_refused() -> None:
    (reason,) = ExecuTorch().requires(models.program("mlp"), Target(device="cuda"))
    assert "cuda" in reason


@pytest.mark.usefixtures("installed")
def test_a_batch_without_an_upper_bound_is_refused() -> None:
    program = torch.export.export(nn.Linear(3, 4).eval(), (torch.randn(4, 3),), dynamic_shapes=({0: Dim("batch")},))
    (reason,) = ExecuTorch().requires(program, Target())
    assert "max=" in reason


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # ExecuTorch uses what torch deprecated, where it is loaded
@pytest.mark.parametrize("name", ["residual_cnn", "mlp"])
def test_outputs_agree_at_every_batch_in_a_process_of_its_own(name: str, tmp_path: Path) -> None:
    program = models.program(name)
    lowered = ExecuTorch().lower(program, Target(), calibration(), tmp_path)
    assert lowered.path.name == ExecuTorch.filename
    assert batch_range(program) == (1, models.MAX_BATCH)
    with Contender(
        loader=loader_of("executorch"),
        artifact=lowered.path,
        filename=ExecuTorch.filename,
        threads=1,
        folder=tmp_path / "contender",
        blocked=("torchao",),
    ) as contender:
        contender.load(300.0)
        for batch in (1, 5, 64):
            inputs = models.example(name, batch=batch, seed=2)
            (found,), calls = contender.check([tensor.numpy() for tensor in inputs], 3, 60.0)
            with torch.no_grad():
                assert sqnr(program.module()(*inputs), torch.from_numpy(found)) > 100
            assert all(call["identical"] and call["inputs_unchanged"] for call in calls)


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # as above
def test_a_program_whose_batch_would_be_bound_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="binds the batch"):
        ExecuTorch().lower(models.program("encoder"), Target(), calibration(), tmp_path)
    assert batch_range(models.program("encoder")) == (1, models.MAX_BATCH)
    assert not list(tmp_path.iterdir())


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # as above
def test_the_same_program_gives_the_same_bytes_and_names_no_path(tmp_path: Path) -> None:
    both = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        lowered = ExecuTorch().lower(models.program("mlp"), Target(), calibration(), folder)
        both.append(lowered.path.read_bytes())
    assert both[0] == both[1]
    assert not any(word in both[0] for word in (b".py", b"/home", b"/tmp"))


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # as above
def test_usage_lines_run_as_they_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ExecuTorch().lower(models.program("mlp"), Target(), calibration(), tmp_path)
    monkeypatch.chdir(tmp_path)
    scope = {"x": models.example("mlp", batch=2)[0]}
    exec(ExecuTorch().usage(["x"]), scope)
    assert scope["outputs"][0].shape == (2, 4)


STATIC: dict[str, object] = {}
DYNAMIC: dict[str, object] = {"activations": "dynamic"}
IN_GROUPS: dict[str, object] = {"weights": "int3", "group": 32}


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize(
    ("name", "settings", "integer", "floating", "least"),
    [
        ("mlp", STATIC, 3, 0, 45),
        ("residual_cnn", STATIC, 9, 0, 45),
        ("depthwise_cnn", STATIC, 6, 0, 45),
        ("concat_cnn", STATIC, 5, 0, 40),
        ("mlp", DYNAMIC, 3, 0, 120),
        ("mlp", IN_GROUPS, 3, 0, 45),
        ("depthwise_cnn", DYNAMIC, 1, 5, 120),
    ],
)
def test_a_quantized_program_runs_on_int8_kernels_and_computes_the_same(
    name: str, settings: dict[str, object], integer: int, floating: int, least: float, tmp_path: Path
) -> None:
    """Against the quantized program in eager. Dynamic ranges are the same ones; static int8 differs where a sum lies
    between two steps, and by the layers that find their range when they run; scales of groups are in bfloat16."""
    program = low_bit(name, **settings)
    lowered = ExecuTorch().lower(program, Target(), calibration(), tmp_path)
    assert f"XNNPACK computes {integer} layer(s) in int8 and {floating} in float." in lowered.notes
    assert _agreement(name, program, lowered.path, tmp_path / "contender") > least


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # as above
@pytest.mark.parametrize("name", ["mlp", "residual_cnn"])
@pytest.mark.parametrize(("weights", "parts", "least"), [("bfloat16", 0, 35), ("float16", 1, 60)])
def test_portable_operators_compute_bfloat16_and_xnnpack_takes_float16(
    name: str, weights: str, parts: int, least: float, tmp_path: Path
) -> None:
    program = low_bit(name, weights=weights)
    lowered = ExecuTorch().lower(program, Target(), calibration(), tmp_path)
    found = re.match(r"XNNPACK runs (\d+) part", lowered.notes[0])
    assert found is not None
    assert min(int(found[1]), 1) == parts
    assert _agreement(name, program, lowered.path, tmp_path / "contender") > least


def _agreement(name: str, program: ExportedProgram, artifact: Path, folder: Path) -> float:
    """How near the file, in a process of its own, comes to the program in eager, in dB."""
    outputs = []
    with Contender(
        loader=loader_of("executorch"),
        artifact=artifact,
        filename=ExecuTorch.filename,
        threads=1,
        folder=folder,
        blocked=("torchao",),
    ) as contender:
        contender.load(300.0)
        for batch in (1, 5, 64):
            inputs = models.example(name, batch=batch, seed=2)
            (found,), _ = contender.check([tensor.numpy() for tensor in inputs], 1, 60.0)
            with torch.no_grad():
                outputs.append((program.module()(*inputs), torch.from_numpy(found)))
    wanted, found = (torch.cat(each) for each in zip(*outputs, strict=True))
    return sqnr(wanted, found)


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # as above
def test_scales_out_of_the_kernels_reach_make_no_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    dead = nn.Conv2d(3, 4, 3)
    nn.init.constant_(dead.bias, -50.0)
    data = random(64, 3, 8, 8)
    program = quantize(export(nn.Sequential(dead, nn.ReLU(), nn.Conv2d(4, 4, 3)), data[:4]), data).program
    lowered = ExecuTorch().lower(program, Target(), calibration(), tmp_path)
    from executorch.runtime import Runtime

    (found,) = Runtime.get().load_program(lowered.path).load_method("forward").execute([data])
    with torch.no_grad():
        assert sqnr(program.module()(data), found) > 45


@needs_executorch
@pytest.mark.filterwarnings("ignore")  # as above
def test_a_quantized_program_gives_the_same_bytes_every_time(tmp_path: Path) -> None:
    both = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        both.append(ExecuTorch().lower(quantized("residual_cnn").program, Target(), calibration(), folder).path)
    assert both[0].read_bytes() == both[1].read_bytes()
