"""The pre-flight: the whole chain on a handful of samples, with an estimate, or the fault that would end it later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.errors import UnsupportedModel
from burnish.passes import Distill
from tests import models
from tests.workers.quantized import THIRD_PARTY, export
from tests.workers.steps.contexts import context, heldout
from workers.datasets import write_samples
from workers.passes.base import Samples
from workers.programs import save_program
from workers.steps.preflight import MOST_SAMPLES, Preflight

pytestmark = [pytest.mark.filterwarnings(warning) for warning in THIRD_PARTY]


def flown(folder: Path, *passes: Any, name: str = "mlp", samples: int = 200, backends: tuple[str, ...] = ()) -> Any:
    program, calibration = folder / "program.pt2", folder / "samples.safetensors"
    save_program(models.program(name), program)
    heldout(calibration, name, count=samples)
    settings = {"passes": list(passes), "backends": list(backends)}
    inputs = {"program": program, "calibration": calibration}
    return Preflight().run(context(folder / "step", inputs, settings)).report


def test_every_pass_runs_on_the_result_of_the_one_before(tmp_path: Path) -> None:
    report = flown(tmp_path, {"prune": {"round_to": 1}}, "distill", "quantize", backends=("onnxruntime",))
    assert [each["name"] for each in report["passes"]] == ["prune", "distill", "quantize"]
    assert report["samples"] <= MOST_SAMPLES
    assert report["peak_memory"] > 0


def test_the_estimate_grows_with_samples_and_epochs(tmp_path: Path) -> None:
    report = flown(tmp_path, {"distill": {"epochs": 50}})
    (distill,) = report["passes"]
    assert distill["estimate"] == pytest.approx(distill["seconds"] * 50 * 200 / report["samples"])
    assert report["estimate"] == distill["estimate"]


def test_it_trains_for_one_epoch_alone() -> None:
    assert Distill(epochs=500).shrunk() == Distill(epochs=1)


def test_a_pass_that_can_not_treat_what_is_left_ends_it_with_the_reason(tmp_path: Path) -> None:
    program, calibration = tmp_path / "program.pt2", tmp_path / "samples.safetensors"
    save_program(export(torch.nn.ReLU(), torch.randn(4, 8)), program)
    write_samples(Samples((torch.randn(16, 8),), None), calibration)
    inputs = {"program": program, "calibration": calibration}
    with pytest.raises(UnsupportedModel, match="no layer"):
        Preflight().run(context(tmp_path / "step", inputs, {"passes": ["quantize"], "backends": []}))


def test_a_target_that_no_backend_can_serve_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.backends import BACKENDS_BY_NAME

    monkeypatch.setattr(BACKENDS_BY_NAME["onnxruntime"], "requires", lambda program, target: ["It is too large."])
    with pytest.raises(UnsupportedModel, match="onnxruntime: It is too large"):
        flown(tmp_path, {"prune": {"round_to": 1}}, backends=("onnxruntime",))
