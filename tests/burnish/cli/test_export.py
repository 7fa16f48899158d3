"""`burnish export`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.api.place import verdict
from tests.burnish.cli.test_cli import run
from tests.burnish.conftest import Served


def _judged(served: Served) -> str:
    record = served.place.job()
    served.place.plan(record, ["capture"])
    claim = served.place.start(record, "capture")
    assert claim is not None
    served.place.finish(claim)
    served.place.succeed(record, verdict())
    return record.id


def test_a_job_is_written_to_each_place_that_is_asked_for(served: Served, tmp_path: Path) -> None:
    job = _judged(served)
    result = run("export", job, "--csv", tmp_path / "job.csv", "--tensorboard", tmp_path / "runs", "--json")
    assert result.exit_code == 0, result.output
    written = json.loads(result.stdout)
    assert (written["job"], set(written["written"])) == (job, {"csv", "tensorboard"})
    with (tmp_path / "job.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 5
    assert list((tmp_path / "runs" / job / "prune@onnxruntime").glob("events.out.tfevents.*"))
    assert f"csv: {tmp_path}/job-steps.csv" in run("export", job, "--csv", tmp_path / "job.csv").stdout


def test_nowhere_to_write_is_told_before_the_service_is_asked() -> None:
    result = run("export", "job_1")
    assert result.exit_code == 2
    assert "--tensorboard DIR" in result.stderr


def test_a_job_without_verdict_and_one_that_is_not_there_are_refused(served: Served, tmp_path: Path) -> None:
    result = run("export", served.place.job().id, "--csv", tmp_path / "job.csv")
    assert (result.exit_code, "has no verdict" in result.stderr) == (2, True)
    assert run("export", "job_none", "--csv", tmp_path / "job.csv").exit_code == 2
