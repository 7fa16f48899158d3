"""Measure end to end on a tiny model: eager, compiled, an ONNX file, and a broken one. No timing is asserted."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import ResourceError, StepCrashed
from burnish.recipe import Target
from burnish.results import Environment, Estimate, Latency
from tests import models
from tests.workers.steps.contexts import context, heldout
from workers.backends import BACKENDS_BY_NAME
from workers.passes.base import Samples
from workers.programs import save_program
from workers.steps.measure import Measure, cores_for

# torch's ONNX exporter warns of its own internals.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
QUICK = {"seconds": 0.2, "min_rounds": 5, "warm_up_seconds": 0.2}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """One measurement that most tests look at: it compiles, which takes long."""
    folder = tmp_path_factory.mktemp("files")
    program = models.program("mlp")
    save_program(program, folder / "program")
    lowered = BACKENDS_BY_NAME["onnxruntime"].lower(
        program, Target(batch=4), Samples(models.example("mlp"), None), folder
    )
    (folder / "broken").write_bytes(b"no model")
    inputs = {
        "original": folder / "program",
        "heldout": heldout(folder / "heldout"),
        "artifact.good@onnxruntime": lowered.path,
        "artifact.broken@onnxruntime": folder / "broken",
        "artifact.champion@onnxruntime": lowered.path,
    }
    contenders = [
        {"name": f"{name}@onnxruntime", "backend": "onnxruntime"}
        for name in ("good", "broken", "refused-before", "champion")
    ]
    settings = {"contenders": contenders, "champion": "champion@onnxruntime", **QUICK}
    return Measure().run(context(folder / "step", inputs, settings)).report


def test_every_contender_has_latency_memory_and_load_time(report: Mapping[str, Any]) -> None:
    for name in ("eager", "compiled", "good@onnxruntime"):
        found = report["contenders"][name]
        latency = Latency.model_validate(found["latency"])
        assert latency.rounds >= 5
        assert 0 < latency.median.low <= latency.median.value <= latency.median.high
        assert found["peak_memory"] > 10_000_000
        assert found["load_seconds"] > 0


def test_speed_ups_are_over_eager_and_over_compiled(report: Mapping[str, Any]) -> None:
    good = report["contenders"]["good@onnxruntime"]
    assert Estimate.model_validate(good["speedup_over_eager"]).value > 0
    assert Estimate.model_validate(good["speedup_over_compiled"]).value > 0
    assert Estimate.model_validate(report["contenders"]["compiled"]["speedup_over_eager"]).value > 0


def test_every_contender_is_compared_with_the_champion_in_the_same_run(report: Mapping[str, Any]) -> None:
    for name in ("eager", "compiled", "good@onnxruntime"):
        assert Estimate.model_validate(report["contenders"][name]["speedup_over_champion"]).value > 0
    assert report["contenders"]["champion@onnxruntime"]["speedup_over_champion"] is None
    assert Estimate.model_validate(report["contenders"]["champion@onnxruntime"]["speedup_over_eager"]).value > 0


def test_nothing_is_compared_with_itself(report: Mapping[str, Any]) -> None:
    assert report["contenders"]["eager"]["speedup_over_eager"] is None
    assert report["contenders"]["compiled"]["speedup_over_compiled"] is None


def test_one_that_does_not_run_is_refused_and_the_others_go_on(report: Mapping[str, Any]) -> None:
    assert report["contenders"]["broken@onnxruntime"]["refused"].startswith("measuring: load failed with")


def test_one_without_an_artifact_is_left_out(report: Mapping[str, Any]) -> None:
    assert "refused-before@onnxruntime" not in report["contenders"]


def test_the_report_says_where_it_was_measured(report: Mapping[str, Any]) -> None:
    found = Environment.model_validate(report["environment"])
    assert (found.threads, found.batch) == (1, 4)
    assert {"torch", "onnxruntime", "python"} <= set(found.versions)


def test_an_original_that_does_not_run_is_a_crash(tmp_path: Path) -> None:
    save_program(models.program("mlp"), tmp_path / "program")
    inputs = {"original": tmp_path / "program", "heldout": heldout(tmp_path / "heldout", name="lstm")}
    with pytest.raises(StepCrashed, match="The original can't be measured: round failed with"):
        Measure().run(context(tmp_path / "step", inputs, {"contenders": [], **QUICK}))


def test_a_target_with_more_threads_than_cores_is_left_to_another_worker() -> None:
    with pytest.raises(ResourceError, match="1024 threads"):
        cores_for(Target(threads=1024))


def test_a_target_gets_as_many_cores_as_it_has_threads() -> None:
    cores = cores_for(Target(threads=1))
    assert len(cores) == 1
    assert set(cores) <= os.sched_getaffinity(0)
