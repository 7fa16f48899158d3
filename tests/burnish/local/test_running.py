"""Finding, starting and stopping the service; the stand-in scene `served` is started in its place."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from burnish.errors import Unavailable
from burnish.local import running
from burnish.local.running import ensure, find, stop
from tests.burnish.local.scenes import ROOT, is_alive, playing, until


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder whose service is the scene `served`; nothing of it runs after the test."""
    folder = tmp_path / "data"
    command = (sys.executable, "-m", "tests.burnish.local.stand_in", "served", str(folder))
    monkeypatch.setattr(running, "python", lambda module: command)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield folder
    stop(folder)


def test_no_service_is_found_where_none_ever_ran(tmp_path: Path) -> None:
    assert find(tmp_path / "nowhere") is None
    assert not stop(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_ensure_starts_one_that_find_finds_and_stop_stops(data: Path) -> None:
    service = ensure(data)
    assert find(data) == service
    assert ensure(data) == service
    assert is_alive(service.pid)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700, "data and models are nobody else's business"
    assert os.getsid(service.pid) == service.pid, "it lives on when the terminal closes"
    assert stop(data)
    assert find(data) is None
    assert not is_alive(service.pid)
    assert not stop(data)


def test_many_that_need_it_at_once_get_the_same_one_and_no_other_waits_for_its_place(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn, spawned = running._spawn, []

    def noted(folder: Path, log: Path) -> tuple[int, int]:
        pid, before = spawn(folder, log)
        spawned.append(pid)
        return pid, before

    monkeypatch.setattr(running, "_spawn", noted)
    with ThreadPoolExecutor(4) as pool:
        services = list(pool.map(ensure, [data] * 4))
    assert len({service.pid for service in services}) == 1
    assert [pid for pid in spawned if is_alive(pid)] == [services[0].pid]


def test_one_that_was_killed_is_not_found_and_replaced(data: Path) -> None:
    killed = ensure(data)
    os.kill(killed.pid, signal.SIGKILL)
    until(lambda: find(data) is None, "that it is missed")
    assert (data / "run.json").exists(), "the stale file is what this test is about"
    service = ensure(data)
    assert service.pid != killed.pid
    assert find(data) == service


def test_one_that_is_coming_up_is_not_found_but_can_be_stopped(tmp_path: Path) -> None:
    with playing("never-ready", tmp_path) as scene:
        until((tmp_path / "second.pid").exists, "the second part")
        assert find(tmp_path) is None
        assert stop(tmp_path)
        assert scene.end() == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"url": "http://127.0.0.1:9"}', '{"url": 1, "pid": "x", "started": 0}']
)
def test_a_damaged_run_file_is_no_service(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert find(tmp_path) is None


def test_a_run_file_whose_process_id_is_now_anothers_is_no_service(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": os.getpid(), "started": 0}))
    assert find(tmp_path) is None


def test_a_service_that_does_not_come_up_is_told_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        monkeypatch.setenv("BURNISH_LISTEN", f"127.0.0.1:{busy.getsockname()[1]}")
        with pytest.raises(Unavailable, match=r"did not start.*\n.*is in use.*BURNISH_LISTEN.*\n.*burnish doctor"):
            ensure(tmp_path / "data")


def test_where_only_the_client_is_installed_ensure_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="only the client"):
        ensure(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="BURNISH_DATA"):
        ensure(tmp_path / "file" / "data")
