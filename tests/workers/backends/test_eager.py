from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from burnish.recipe import AUTOMATIC_BACKENDS, BACKENDS, Target
from tests import models
from tests.workers.quantized import THIRD_PARTY, calibration, quantized
from workers.backends import BACKENDS_BY_NAME
from workers.backends.eager import Eager
from workers.measure.contender import STANDALONE, loader_of
from workers.programs import load_program

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lowered = Eager().lower(models.program("residual_cnn"), Target(), calibration(), tmp_path_factory.mktemp("eager"))
    return lowered.path


def test_outputs_are_those_of_the_program_to_the_last_bit(artifact: Path) -> None:
    program = load_program(artifact)
    for batch in (1, 5):
        inputs = models.example("residual_cnn", batch=batch, seed=2)
        with torch.no_grad():
            assert torch.equal(program.module()(*inputs), models.program("residual_cnn").module()(*inputs))


def test_it_runs_without_torchao_in_a_process_of_its_own(artifact: Path) -> None:
    command = [sys.executable, "-I", str(STANDALONE / "contender.py"), "--loader", str(loader_of("eager"))]
    command += ["--artifact", str(artifact), "--threads", "1", "--block", "torchao"]
    orders = "\n".join(json.dumps({"do": order}) for order in ("load", "quit"))
    done = subprocess.run(
        command, input=orders, capture_output=True, text=True, check=True, env={**os.environ, "PATH": ""}
    )
    assert json.loads(done.stdout)["ok"]


def test_the_same_program_gives_the_same_bytes(artifact: Path, tmp_path: Path) -> None:
    lowered = Eager().lower(models.program("residual_cnn"), Target(device="cuda"), calibration(), tmp_path)
    assert lowered.path.read_bytes() == artifact.read_bytes()


def test_usage_lines_run_as_they_stand(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert artifact.name == Eager.filename
    monkeypatch.chdir(artifact.parent)
    scope = {"x": models.example("residual_cnn", batch=2)[0]}
    exec(Eager().usage(["x"]), scope)
    assert scope["outputs"].shape == (2, 10)


def test_a_fixed_batch_is_noted(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(3, 4).eval(), (torch.randn(4, 3),))
    assert any("4 samples per call" in note for note in Eager().lower(program, Target(), calibration(), tmp_path).notes)


def test_a_quantized_program_is_refused() -> None:
    (reason,) = Eager().requires(quantized("mlp").program, Target())
    assert "torchao" in reason
    assert "onnxruntime" in reason


def test_a_device_that_torch_does_not_run_on_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "CUDA" in Eager().requires(models.program("mlp"), Target(device="cuda"))[0]
    assert "cpu or cuda" in Eager().requires(models.program("mlp"), Target(device="npu"))[0]


def test_a_float_program_is_accepted() -> None:
    assert Eager().requires(models.program("mlp"), Target()) == []


def test_auto_tries_the_backends_that_say_so() -> None:
    assert tuple(name for name in BACKENDS if BACKENDS_BY_NAME[name].automatic) == AUTOMATIC_BACKENDS
    assert Target(backend="auto").backends == AUTOMATIC_BACKENDS
    assert Target(backend="eager").backends == ("eager",)
