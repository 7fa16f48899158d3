"""A champion in verify and measure: an artifact of an earlier job, without the program that it was made from."""

from pathlib import Path

import pytest

from burnish.recipe import Target
from burnish.results import Estimate, Quality
from tests import models
from tests.workers.steps.contexts import context, heldout
from workers.backends import BACKENDS_BY_NAME
from workers.passes.base import Samples
from workers.programs import save_program
from workers.steps.measure import Measure
from workers.steps.verify import Verify

# torch's ONNX exporter warns of its own internals.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
QUICK = {"seconds": 0.2, "min_rounds": 5, "warm_up_seconds": 0.2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The MLP as a program and as an ONNX file."""
    folder = tmp_path_factory.mktemp("files")
    program = models.program("mlp")
    save_program(program, folder / "program")
    lowered = BACKENDS_BY_NAME["onnxruntime"].lower(
        program, Target(batch=4), Samples(models.example("mlp"), None), folder
    )
    return {
        "original": folder / "program",
        "artifact": lowered.path.rename(folder / "artifact"),
        "heldout": heldout(folder / "heldout"),
    }


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


def test_contenders_are_compared_with_the_champion_in_the_same_run(files: dict[str, Path], tmp_path: Path) -> None:
    names = ("new@onnxruntime", "champion@onnxruntime")
    inputs = {"original": files["original"], "heldout": files["heldout"]}
    inputs |= {f"artifact.{name}": files["artifact"] for name in names}
    contenders = [{"name": name, "backend": "onnxruntime"} for name in names]
    settings = {"contenders": contenders, "champion": names[1], **QUICK}
    found = Measure().run(context(tmp_path / "step", inputs, settings)).report["contenders"]
    assert Estimate.model_validate(found["new@onnxruntime"]["speedup_over_champion"]).value > 0
    assert Estimate.model_validate(found["eager"]["speedup_over_champion"]).value > 0
    assert found["champion@onnxruntime"]["speedup_over_champion"] is None
    assert Estimate.model_validate(found["champion@onnxruntime"]["speedup_over_eager"]).value > 0
