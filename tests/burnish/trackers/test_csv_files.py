"""CSV of candidates and steps."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from burnish.errors import Conflict
from burnish.trackers import to_csv
from tests.burnish.results import job, judged


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_candidates_and_steps_are_two_files_with_a_line_each(tmp_path: Path) -> None:
    candidates, steps = to_csv(judged(), tmp_path / "out" / "result.csv")
    assert (candidates.name, steps.name) == ("result.csv", "result-steps.csv")
    rows = _rows(candidates)
    assert [row["candidate"] for row in rows if row["chosen"] == "True"] == ["prune@onnxruntime"]
    assert {row["job"] for row in rows} == {"job_1"}
    assert rows[-1]["refused"] == "wrong on the second call"
    assert rows[-1]["latency_median_seconds"] == ""
    assert float(rows[3]["speedup_over_eager_low"]) == pytest.approx(3.96)
    found = {row["step"]: row for row in _rows(steps)}
    assert (found["distill"]["loss_after"], found["capture"]["hit"]) == ("0.25", "True")


def test_a_job_without_verdict_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        to_csv(job(), tmp_path / "result.csv")
    assert list(tmp_path.iterdir()) == []
