"""A champion in verify: an artifact of an earlier job, without the program that it was made from."""

from pathlib import Path

import pytest

from burnish.results import Quality
from tests import models
from tests.workers.steps.contexts import context, heldout, lowered_files
from workers.programs import save_program
from workers.steps.verify import Verify

# torch's ONNX exporter warns of its own internals.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The MLP as a program and as an ONNX file."""
    files = lowered_files(tmp_path_factory.mktemp("files"))
    return {role: files[role] for role in ("original", "artifact", "heldout")}


def test_without_its_program_an_artifact_is_judged_on_held_out_data(files: dict[str, Path], tmp_path: Path) -> None:
    report = Verify().run(context(tmp_path, files, {"backend": "onnxruntime"})).report
    assert "refused" not in report
    quality = Quality.model_validate(report["quality"])
    assert (quality.metric, quality.value, quality.drop.value) == ("top1", pytest.approx(0.9), 0.0)
    assert report["checks"] == []
    assert report["load_seconds"] > 0


def test_one_that_does_not_take_the_inputs_of_today_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    save_program(models.program("lstm"), tmp_path / "program")
    other = {**files, "original": tmp_path / "program", "heldout": heldout(tmp_path / "heldout", name="lstm")}
    report = Verify().run(context(tmp_path / "step", other, {"backend": "onnxruntime"})).report
    assert "check failed with" in report["refused"]
