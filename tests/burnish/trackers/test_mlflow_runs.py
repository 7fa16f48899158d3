"""Runs of MLflow, in a real store of SQLite, read back by MLflow. Skipped where the extra is not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from burnish.errors import Unavailable
from burnish.trackers import to_mlflow
from tests.burnish.results import judged

pytest.importorskip("mlflow", reason="MLflow is not installed: `pip install 'burnish[mlflow]'` runs these")
pytestmark = pytest.mark.filterwarnings("ignore")  # its libraries' own, of which every release has others


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/runs.db"


def _runs(uri: str, name: str = "burnish") -> tuple[Any, list[Any]]:
    import mlflow

    client = mlflow.MlflowClient(tracking_uri=uri)
    return client, list(client.search_runs([client.get_experiment_by_name(name).experiment_id]))


def test_a_job_is_a_run_with_one_below_it_for_each_candidate(uri: str) -> None:
    made = to_mlflow(judged(), uri)
    client, runs = _runs(uri)
    found = {run.info.run_name: run for run in runs}
    assert set(found) == {
        "net:1", "eager", "compiled", "original@onnxruntime", "prune@onnxruntime", "prune@inductor",
    }  # fmt: skip
    whole, best = client.get_run(made), found["prune@onnxruntime"]
    assert whole.data.metrics["distill/loss_after"] == 0.25
    assert "4.0× faster" in whole.data.tags["mlflow.note.content"]
    assert best.data.tags["mlflow.parentRunId"] == made
    assert best.data.metrics["speedup_over_eager_low"] == pytest.approx(3.96)
    assert (best.data.params["backend"], best.data.params["passes.0.prune.ratio"]) == ("onnxruntime", "0.5")
    assert found["prune@inductor"].info.status == "FAILED"
    assert "wrong on the second call" in found["prune@inductor"].data.tags["mlflow.note.content"]
    assert whole.info.end_time - whole.info.start_time == 60_000


def test_a_job_that_is_there_whole_is_left_and_a_part_of_one_is_written_anew(uri: str) -> None:
    made = to_mlflow(judged(), uri, "mine")
    assert to_mlflow(judged(), uri, "mine") == made
    client, runs = _runs(uri, "mine")
    assert len(runs) == 6
    client.update_run(made, status="RUNNING")  # as a killed export leaves it
    assert to_mlflow(judged(), uri, "mine") != made
    assert len(_runs(uri, "mine")[1]) == 6


def test_a_store_that_can_not_be_used_is_told(uri: str) -> None:
    with pytest.raises(Unavailable, match="MLflow does not take the job"):
        to_mlflow(judged(), "bogus://nowhere")
