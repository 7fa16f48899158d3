"""Verify with a real artifact. How each wrong artifact is refused stands in `measure/test_reproduction.py`."""

from pathlib import Path

import pytest
import torch

from burnish.errors import UnsupportedModel
from burnish.results import Quality
from tests import models
from tests.workers.quantized import quantize
from tests.workers.steps.contexts import context, heldout, lowered_files
from workers.programs import load_program, save_program
from workers.steps.lower import Lower
from workers.steps.verify import Verify, in_batches, precision_of

# torch's ONNX exporter warns of its own internals.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The MLP as a program and as an ONNX file, under names without endings, as blobs are."""
    return lowered_files(tmp_path_factory.mktemp("files"))


def test_a_right_artifact_is_reported_with_its_quality_and_every_check(files: dict[str, Path], tmp_path: Path) -> None:
    report = Verify().run(context(tmp_path, files, {"backend": "onnxruntime"})).report
    assert "refused" not in report
    quality = Quality.model_validate(report["quality"])
    assert (quality.metric, quality.original, quality.value) == ("top1", pytest.approx(0.9), pytest.approx(0.9))
    assert (quality.drop.low, quality.drop.high, quality.samples) == (0.0, 0.0, 40)
    assert quality.sqnr_db > 60
    assert {check["batch"] for check in report["checks"]} == {1, 2, 3, 4, 7, 64}
    assert all(check["calls"] == 3 for check in report["checks"])
    assert report["load_seconds"] > 0
    assert (report["discordant"], report["mcnemar_p"]) == ([0, 0], 1.0)


def test_without_labels_the_original_is_what_it_is_held_against(files: dict[str, Path], tmp_path: Path) -> None:
    unlabelled = {**files, "heldout": heldout(tmp_path / "unlabelled", labelled=False)}
    report = Verify().run(context(tmp_path / "step", unlabelled, {"backend": "onnxruntime"})).report
    quality = Quality.model_validate(report["quality"])
    assert (quality.metric, quality.value) == ("agreement", 1.0)


def test_an_artifact_of_another_program_is_refused_with_the_figures(files: dict[str, Path], tmp_path: Path) -> None:
    module = models.module("mlp", seed=1)
    shapes = ({0: torch.export.Dim("batch", min=1, max=models.MAX_BATCH)},)
    save_program(torch.export.export(module, models.example("mlp"), dynamic_shapes=shapes), tmp_path / "other")
    inputs = {**files, "program": tmp_path / "other"}
    refused = Verify().run(context(tmp_path / "step", inputs, {"backend": "onnxruntime"})).report["refused"]
    assert refused.startswith("agreement: at batch 7, output 0 of call 1 differs from the program it was made from")
    assert "dB, at least 60 dB is needed" in refused


class Unsteady(torch.nn.Module):
    """Smooth where the data are; ten times further out, the last bit of a sum decides about the output."""

    def __init__(self) -> None:
        super().__init__()
        self.body = models.module("mlp")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.body(x) ** 9)


def test_an_artifact_is_not_held_to_what_no_engine_could_give(files: dict[str, Path], tmp_path: Path) -> None:
    shapes = ({0: torch.export.Dim("batch", min=1, max=models.MAX_BATCH)},)
    program = torch.export.export(Unsteady().eval(), models.example("mlp"), dynamic_shapes=shapes)
    save_program(program, tmp_path / "program")
    inputs = {**files, "program": tmp_path / "program", "original": tmp_path / "program"}
    inputs["calibration"] = files["heldout"]
    lowered = Lower().run(context(tmp_path / "lower", inputs, {"backend": "onnxruntime"}))
    inputs["artifact"] = lowered.outputs["artifact"]
    report = Verify().run(context(tmp_path / "verify", inputs, {"backend": "onnxruntime"})).report
    assert "refused" not in report
    assert min(check["sqnr_db"] or 999.0 for check in report["checks"]) < 60.0


def test_a_file_that_does_not_load_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"no model")
    inputs = {**files, "artifact": tmp_path / "broken"}
    refused = Verify().run(context(tmp_path / "step", inputs, {"backend": "onnxruntime"})).report["refused"]
    assert refused.startswith("load failed with InvalidProtobuf")


@pytest.mark.parametrize(
    ("settings", "precision"),
    [
        ({}, "int8"),
        ({"weights": "int4"}, "int8"),
        ({"weights": "int4", "activations": "float32"}, "weights"),
        ({"weights": "fp8"}, "weights"),
        ({"weights": "nf4"}, "weights"),
        ({"weights": "bfloat16"}, "bfloat16"),
        ({"weights": "float16"}, "float16"),
    ],
)
def test_a_program_is_held_to_what_it_computes_in(settings: dict[str, str], precision: str, tmp_path: Path) -> None:
    program = quantize(models.program("mlp"), *models.example("mlp", batch=8), **settings).program
    save_program(program, tmp_path / "program")
    assert precision_of(load_program(tmp_path / "program")) == precision


def test_a_program_of_floats_is_held_to_float32() -> None:
    assert precision_of(models.program("mlp")) == "float32"


def test_the_last_batch_is_filled_up_and_cut_again() -> None:
    inputs = [torch.arange(10).numpy()]
    sizes: list[int] = []

    def run(part):  # type: ignore[no-untyped-def]
        sizes.append(len(part[0]))
        return [part[0] * 2]

    assert in_batches(run, inputs, 4)[0].tolist() == list(range(0, 20, 2))
    assert sizes == [4, 4, 4]


def test_an_output_without_a_batch_is_refused_as_unsupported() -> None:
    with pytest.raises(UnsupportedModel, match="dimension 0 is not the batch"):
        in_batches(lambda part: [part[0].sum()], [torch.arange(10).numpy()], 4)
