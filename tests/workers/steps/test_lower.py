from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
import torch

from burnish.errors import UnsupportedModel
from burnish.recipe import BACKENDS, Target
from tests import models
from tests.workers.quantized import THIRD_PARTY, quantized
from workers.backends import BACKENDS_BY_NAME
from workers.datasets import write_samples
from workers.passes.base import Samples
from workers.programs import save_program
from workers.steps.base import StepContext
from workers.steps.lower import Lower

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


def context(folder: Path, program: torch.export.ExportedProgram, device: str = "cpu") -> StepContext:
    """A step that lowers `program` for ONNX Runtime in `folder / "scratch"`."""
    save_program(program, folder / "program.pt2")
    write_samples(Samples(models.example("mlp", batch=8), None), folder / "calibration.safetensors")
    (folder / "scratch").mkdir()
    return StepContext(
        settings={"backend": "onnxruntime"},
        inputs={"program": folder / "program.pt2", "calibration": folder / "calibration.safetensors"},
        folder=folder / "scratch",
        target=Target(device=device),
        seed=0,
        progress=lambda share, doing: None,
    )


def test_every_backend_that_a_target_can_name_is_in_the_table() -> None:
    assert tuple(BACKENDS_BY_NAME) == BACKENDS
    assert all(backend.name == name for name, backend in BACKENDS_BY_NAME.items())


def test_the_artifact_of_a_quantized_program_runs_and_is_described(tmp_path: Path) -> None:
    made = Lower().run(context(tmp_path, quantized("mlp").program))
    artifact = made.outputs["artifact"]
    assert artifact.parent == tmp_path / "scratch"
    assert made.report["filename"] == artifact.name == "model.onnx"
    assert made.report["size"] == artifact.stat().st_size
    assert made.report["seconds"] > 0
    assert any("int8" in note for note in made.report["notes"])
    assert '"features": features' in made.report["usage"]
    session = onnxruntime.InferenceSession(str(artifact), providers=["CPUExecutionProvider"])
    (inputs,) = models.example("mlp", batch=3)
    assert session.run(None, {"features": inputs.numpy()})[0].shape == (3, 4)


def test_a_target_that_the_backend_lacks_is_a_refusal_and_no_failure(tmp_path: Path) -> None:
    made = Lower().run(context(tmp_path, models.program("mlp"), device="cuda"))
    assert not made.outputs
    assert "cuda" in made.report["refused"]


def test_a_program_that_the_compiler_refuses_is_a_refusal_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UnsupportedModel("There is no such operator.", cure="Use the inductor backend.")

    monkeypatch.setattr(BACKENDS_BY_NAME["onnxruntime"], "lower", refuse)
    made = Lower().run(context(tmp_path, models.program("mlp")))
    assert not made.outputs
    assert made.report["refused"] == "There is no such operator. Use the inductor backend."
