"""Offline runs of Weights & Biases, read back from its files. Skipped where the extra is not installed."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.trackers import to_wandb
from tests.burnish.results import judged

pytest.importorskip("wandb", reason="Weights & Biases is not installed: `pip install 'burnish[wandb]'` runs these")
pytestmark = pytest.mark.filterwarnings("ignore")  # its libraries' own, of which every release has others
_WHOLE = 1
"""Type of a record of LevelDB's log that is not split."""


def _records(path: Path) -> Iterator[Any]:
    """Those of a file shorter than one block (32 KiB): after 7 bytes, checksum, length, type and bytes of each."""
    from wandb.proto import wandb_internal_pb2

    content = path.read_bytes()
    place = 7
    while place + 7 <= len(content):
        length, kind = struct.unpack_from("<HB", content, place + 4)
        assert kind == _WHOLE
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content[place + 7 : place + 7 + length])
        yield record
        place += 7 + length


def _run(path: Path) -> tuple[Any, dict[str, Any]]:
    """A run, and its figures and texts."""
    run, told = None, {}
    for record in _records(path):
        if record.HasField("run"):
            run = record.run
        for item in (*record.history.item, *record.summary.update):
            told["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
    return run, told


def test_a_job_is_a_group_of_offline_runs_with_fixed_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    folder = to_wandb(judged(), tmp_path / "out", "mine")
    found = [_run(path) for path in folder.glob("offline-run-*/*.wandb")]
    runs = {run.display_name: (run, told) for run, told in found}
    assert set(runs) == {
        "net:1", "eager", "compiled", "original@onnxruntime", "prune@onnxruntime", "prune@inductor",
    }  # fmt: skip
    assert {(run.run_group, run.project) for run, _ in found} == {("job_1", "mine")}
    job, told = runs["net:1"]
    assert (job.job_type, told["distill/loss_after"]) == ("job", 0.25)
    assert "4.0× faster" in job.notes
    assert "import onnxruntime" in told["usage"]
    best, told = runs["prune@onnxruntime"]
    assert told["speedup_over_eager_low"] == pytest.approx(3.96)
    config = {item.key: json.loads(item.value_json) for item in best.config.update}
    assert (config["backend"], config["passes.0.prune.ratio"]) == ("onnxruntime", 0.5)
    assert runs["prune@inductor"][1]["refused"] == "wrong on the second call"
    again = to_wandb(judged(), tmp_path / "again", "mine")
    ids = {path.stem for path in folder.glob("offline-run-*/*.wandb")}
    assert {path.stem for path in again.glob("offline-run-*/*.wandb")} == ids
