"""The fork server and its children: the scripted steps, and torch in earnest."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import InternalError
from tests.acceptance.service import until
from workers.sandbox import Limits
from workers.zygote_client import Child, Zygote

TABLE = "tests.acceptance.scripted"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote(TABLE, preload=("there.is.no.such.module",))
    made.start()
    yield made
    made.close()


def order(folder: Path, script: dict[str, Any], op: str = "capture") -> Path:
    """An attempt's folder with this order in it."""
    for part in ("work", "tmp", "told", "inputs"):
        (folder / part).mkdir(parents=True)
    model = folder / "inputs" / "model"
    model.write_text(json.dumps(script))
    step = {"op": op, "settings": {}, "inputs": {"model": str(model)}, "target": {}, "seed": 0, "threads": 1}
    (folder / "step.json").write_text(json.dumps(step))
    return folder


def run(zygote: Zygote, folder: Path) -> Child:
    """Runs what is ordered there to its end."""
    child = begin(zygote, folder)
    assert child.wait(60)
    return child


def begin(zygote: Zygote, folder: Path) -> Child:
    """Begins what is ordered there."""
    child = zygote.spawn(folder, {"HOME": str(folder / "tmp"), "TMPDIR": str(folder / "tmp")}, Limits(), [])
    assert child is not None
    return child


def told(folder: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "told" / name).read_text())
    return document


def test_the_catalogue_tells_what_the_table_holds(zygote: Zygote) -> None:
    catalogue = zygote._catalogue
    assert catalogue is not None
    assert catalogue.steps["measure"].alone
    assert catalogue.steps["capture"].modules == ("tests.acceptance.scripted",)


def test_a_step_runs_in_a_child_and_tells_its_result(zygote: Zygote, tmp_path: Path) -> None:
    child = run(zygote, order(tmp_path / "a", {}))
    assert child.status == 0
    assert child.peak > 1_000_000
    assert told(tmp_path / "a", "result.json")["outputs"] == {"program": "program"}


def test_a_child_leads_its_own_process_group(zygote: Zygote, tmp_path: Path) -> None:
    folder = order(tmp_path / "a", {"capture": {"seconds": 600}})
    child = begin(zygote, folder)
    until(lambda: os.getsid(child.pid) == child.pid)
    child.kill()
    assert child.status == -signal.SIGKILL


def test_an_error_of_ours_is_told_as_it_is(zygote: Zygote, tmp_path: Path) -> None:
    child = run(zygote, order(tmp_path / "a", {"capture": {"raise": "user"}}))
    assert child.status == 1
    assert told(tmp_path / "a", "error.json")["code"] == "model.unsupported"


def test_what_a_step_started_dies_with_it(zygote: Zygote, tmp_path: Path) -> None:
    folder = order(tmp_path / "a", {"capture": {"child": True}})
    assert run(zygote, folder).status == 0
    words = (folder / "told" / "log.txt").read_text().split()
    left = int(words[words.index("child") + 1])
    until(lambda: not Path(f"/proc/{left}/exe").exists(), 5)


def test_a_step_sees_no_more_of_the_environment_than_it_is_given(
    zygote: Zygote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    folder = order(tmp_path / "a", {"capture": {"probe": []}})
    assert run(zygote, folder).status == 0
    names = told(folder, "result.json")["report"]["probe"]["environment"]
    assert {"HOME", "PATH", "TMPDIR"} <= set(names)
    assert not [name for name in names if name.startswith(("AWS", "BURNISH", "PYTHON"))]


def test_a_dead_zygote_is_replaced_and_its_children_count_as_lost(tmp_path: Path) -> None:
    zygote = Zygote(TABLE, preload=())
    zygote.start()
    child = begin(zygote, order(tmp_path / "a", {"capture": {"seconds": 600}}))
    os.kill(zygote.pid, signal.SIGKILL)
    assert child.wait(10)
    assert child.status is None
    until(lambda: not Path(f"/proc/{child.pid}/exe").exists(), 5)
    until(lambda: zygote._ready.is_set())
    assert run(zygote, order(tmp_path / "b", {})).status == 0
    zygote.close()


def test_a_zygote_that_hangs_keeps_nobody_who_has_to_end_and_starts_nothing_later(tmp_path: Path) -> None:
    zygote = Zygote(TABLE, preload=())
    zygote.start()
    folder = order(tmp_path / "a", {"capture": {"seconds": 600}})
    os.kill(zygote.pid, signal.SIGSTOP)
    began = time.monotonic()
    assert zygote.spawn(folder, {}, Limits(), [], stopped=lambda: time.monotonic() > began + 0.3) is None
    assert time.monotonic() - began < 3.0
    os.kill(zygote.pid, signal.SIGCONT)
    until(lambda: not zygote._children)  # killed as soon as it was there
    assert run(zygote, order(tmp_path / "b", {})).status == 0
    zygote.close()


def test_a_zygote_that_hangs_for_too_long_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zygote = Zygote(TABLE, preload=())
    zygote.start()
    hung = zygote.pid
    os.kill(hung, signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr("workers.zygote_client._START_LIMIT", 0.3)
        with pytest.raises(InternalError, match="did not start one"):
            zygote.spawn(order(tmp_path / "a", {}), {}, Limits(), [])
    until(lambda: zygote.pid != hung and zygote._ready.is_set())
    assert run(zygote, order(tmp_path / "b", {})).status == 0
    zygote.close()


def test_a_table_that_can_not_be_imported_is_told_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.zygote_client._START_LIMIT", 0.5)
    with pytest.raises(InternalError, match="did not come up"):
        Zygote("tests.no_such_table", preload=()).start()


def test_a_fork_of_the_real_zygote_computes_with_torch(tmp_path: Path) -> None:
    """It hangs if the parent has computed before: then this fails by its time limit."""
    zygote = Zygote("tests.workers.engine.torch_table")
    zygote.start()
    folder = order(tmp_path / "a", {}, op="compute")
    child = begin(zygote, folder)
    assert child.wait(60), "the child hangs"
    report = told(folder, "result.json")["report"]
    assert report["threads"] == 1
    assert report["loss"] < report["first"]
    zygote.close()


def test_it_comes_up_without_a_word_of_the_libraries(capfd: pytest.CaptureFixture[str]) -> None:
    made = Zygote(TABLE, preload=("torchao.quantization.pt2e.quantize_pt2e",))
    made.start()
    made.close()
    assert capfd.readouterr().err == ""
