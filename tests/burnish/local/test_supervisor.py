"""The supervisor over stand-in parts, as a process of its own that signals reach."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.burnish.local.scenes import is_alive, playing, until


def test_it_comes_up_in_order_says_so_and_writes_the_run_file(tmp_path: Path) -> None:
    with playing("plain", tmp_path) as scene:
        assert "ready at http://127.0.0.1:9" in scene.hear("ready")
        document = json.loads((tmp_path / "run.json").read_text())
        assert document["url"] == "http://127.0.0.1:9"
        assert document["pid"] == scene.process.pid
        assert document["started"] > 0
        started = {name: (tmp_path / f"{name}.pid").stat().st_mtime_ns for name in ("first", "setup", "second")}
        assert sorted(started, key=lambda name: started[name]) == ["first", "setup", "second"]
        assert (tmp_path / "logs" / "second.log").read_text() == "second is up\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_in_reverse_order_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    with playing("plain", tmp_path) as scene:
        scene.hear("ready")
        assert scene.stop(number) == 0
        assert (tmp_path / "stopped").read_text() == "second\nfirst\n"
        assert not is_alive(scene.pid("first"))
        assert not is_alive(scene.pid("second"))
        assert not (tmp_path / "run.json").exists()


def test_a_part_that_was_killed_is_started_again(tmp_path: Path) -> None:
    with playing("plain", tmp_path) as scene:
        scene.hear("ready")
        before, other = scene.pid("second"), scene.pid("first")
        os.kill(before, signal.SIGKILL)
        assert "second ended with signal 9; starting it again in 0.5 s" in scene.hear("second ended")
        until(lambda: scene.pid("second") != before, "the second life of the part")
        os.kill(scene.pid("second"), signal.SIGKILL)
        assert "in 1 s" in scene.hear("second ended"), "the pause doubles"
        assert scene.pid("first") == other
        assert is_alive(other)


def test_what_a_killed_part_left_running_is_killed_before_it_starts_again(tmp_path: Path) -> None:
    with playing("nest", tmp_path) as scene:
        scene.hear("ready")
        nested = int((tmp_path / "nested.pid").read_text())
        assert is_alive(nested)
        os.kill(scene.pid("nest"), signal.SIGKILL)
        scene.hear("nest ended")
        assert not is_alive(nested)


def test_what_the_parts_leave_running_is_killed_at_the_end(tmp_path: Path) -> None:
    with playing("nest", tmp_path) as scene:
        scene.hear("ready")
        assert scene.stop() == 0
        assert not is_alive(int((tmp_path / "nested.pid").read_text()))


def test_a_second_service_on_the_folder_is_refused(tmp_path: Path) -> None:
    with playing("plain", tmp_path) as scene:
        scene.hear("ready")
        with playing("plain", tmp_path) as second:
            assert second.end() == 1
            assert f"running on {tmp_path} already (process {scene.process.pid})" in second.said
            assert "burnish down" in second.said
        assert is_alive(scene.pid("first"))


def test_a_part_that_keeps_crashing_at_the_start_ends_it_with_the_end_of_its_log(tmp_path: Path) -> None:
    with playing("broken", tmp_path) as scene:
        assert scene.end() == 1
        assert "broken ended 3 times, last with exit status 3" in scene.said
        assert "the disk is on fire" in scene.said
        assert not is_alive(scene.pid("first"))


def test_a_part_that_ends_before_it_was_ready_is_mended_and_started_again(tmp_path: Path) -> None:
    with playing("mended", tmp_path) as scene:
        scene.hear("mended ended with exit status 1")
        scene.hear("ready")


def test_a_preparation_that_fails_ends_it_before_the_next_part(tmp_path: Path) -> None:
    with playing("once-broken", tmp_path) as scene:
        assert scene.end() == 1
        assert "setup ended with exit status 3" in scene.said
        assert "the disk is on fire" in scene.said
        assert not (tmp_path / "second.pid").exists()
        assert not is_alive(scene.pid("first"))


def test_a_command_that_is_not_there_ends_it_with_a_cure(tmp_path: Path) -> None:
    with playing("no-command", tmp_path) as scene:
        assert scene.end() == 1
        assert "second can't be started" in scene.said
        assert "pip install" in scene.said


def test_a_signal_before_it_is_ready_stops_what_runs(tmp_path: Path) -> None:
    with playing("never-ready", tmp_path) as scene:
        until((tmp_path / "second.pid").exists, "the second part")
        assert scene.stop() == 0
        assert not is_alive(scene.pid("second"))
        assert not is_alive(scene.pid("first"))
        assert "ready" not in scene.said


def test_a_part_that_ignores_the_signal_is_killed_after_its_time(tmp_path: Path) -> None:
    with playing("stubborn", tmp_path) as scene:
        scene.hear("ready")
        assert scene.stop() == 0
        assert not is_alive(scene.pid("stubborn"))
        assert (tmp_path / "stopped").read_text() == "first\n"


def test_a_second_signal_hurries(tmp_path: Path) -> None:
    with playing("endless", tmp_path) as scene:
        scene.hear("ready")
        scene.process.send_signal(signal.SIGINT)
        until(lambda: not (tmp_path / "run.json").exists(), "the end of the run file")
        assert scene.stop(signal.SIGINT) == 0
        assert not is_alive(scene.pid("stubborn"))


def test_the_parts_die_with_a_supervisor_that_is_killed_and_the_folder_is_free(tmp_path: Path) -> None:
    with playing("plain", tmp_path) as scene:
        scene.hear("ready")
        scene.process.kill()
        scene.process.wait()
        until(lambda: not is_alive(scene.pid("first")) and not is_alive(scene.pid("second")), "the end of the parts")
        assert (tmp_path / "run.json").exists()
    for name in ("first", "second"):
        (tmp_path / f"{name}.pid").unlink()
    with playing("plain", tmp_path) as again:
        again.hear("ready")
        assert again.stop() == 0
