"""What the inside of a step's process makes of results and errors."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import InvalidModel
from tests.workers.engine.test_zygote import order, told
from workers.child import run_step
from workers.failure import error_of
from workers.steps.base import Made, Step, StepContext


class Doing(Step):
    """A step that does what the test says."""

    def __init__(self, work: Callable[[StepContext], Made]) -> None:
        self.work = work

    def run(self, context: StepContext) -> Made:
        return self.work(context)


@pytest.fixture
def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[StepContext], Made]], int]:
    """Runs some work as a step in a folder, here: no process is started."""
    folder = order(tmp_path / "a", {})
    monkeypatch.chdir(tmp_path)
    return lambda work: run_step({"capture": Doing(work)}, folder)


def _file(context: StepContext, text: str = "x") -> Path:
    path = context.folder / "out"
    path.write_text(text)
    return path


def test_outputs_and_report_are_told(attempt: Any, tmp_path: Path) -> None:
    assert attempt(lambda context: Made({"program": _file(context)}, {"figure": 1.5})) == 0
    assert told(tmp_path / "a", "result.json") == {"outputs": {"program": "out"}, "report": {"figure": 1.5}}


def test_an_output_outside_the_folder_is_refused(attempt: Any, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    assert attempt(lambda _: Made({"program": tmp_path / "outside"})) == 1
    assert "no file in its folder" in told(tmp_path / "a", "error.json")["message"]


def test_a_link_that_leads_outside_is_refused(attempt: Any, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")

    def work(context: StepContext) -> Made:
        (context.folder / "link").symlink_to(tmp_path / "outside")
        return Made({"program": context.folder / "link"})

    assert attempt(work) == 1


def test_a_report_that_is_no_plain_data_is_the_steps_error(attempt: Any, tmp_path: Path) -> None:
    assert attempt(lambda _: Made(report={"loss": float("nan")})) == 1
    assert told(tmp_path / "a", "error.json")["code"] == "internal.step"


def test_progress_is_told_at_most_five_times_a_second(attempt: Any, tmp_path: Path) -> None:
    def work(context: StepContext) -> Made:
        for number in range(1000):
            context.progress(number / 1000, f"doing {number}")
        return Made()

    assert attempt(work) == 0
    assert told(tmp_path / "a", "progress.json") == {"share": 0.0, "doing": "doing 0"}


def test_errors_of_ours_keep_their_code_and_cure() -> None:
    document = error_of(InvalidModel("It is no archive.", cure="Export it.", where="data"))
    assert (document["code"], document["cure"], document["where"]) == ("model.invalid", "Export it.", "data")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "resource.memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "resource.memory"),
        (RuntimeError("std::bad_alloc"), "resource.memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "resource.disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "resource.disk"),
        (OSError(errno.EFBIG, "File too large"), "resource.disk"),
        (OSError(errno.ENOENT, "No such file"), "internal.step"),
        (ZeroDivisionError("division by zero"), "internal.step"),
        (SystemExit(3), "internal.step"),
    ],
)
def test_foreign_errors_are_translated(error: BaseException, code: str) -> None:
    document = error_of(error)
    assert document["code"] == code
    assert document["cure"]
    json.dumps(document)


def test_a_crash_names_the_line_and_no_folder_of_the_machine() -> None:
    try:
        raise ValueError("first line\nsecond line")
    except ValueError as error:
        document = error_of(error)
    assert document["message"] == "The step ended with ValueError: first line"
    assert str(document["where"]).startswith("test_child.py:")
