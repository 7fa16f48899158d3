"""What a confined process can't do. Each probe runs in a fork, and answers by its exit status."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.service import until
from workers.process_tree import descendants, kill_tree, peak_resident, resident
from workers.sandbox import Limits, confine, die_with_parent, set_environment


def _in_a_fork(probe: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if probe() else 1
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 1), code
    return code == 0


def _given_up() -> set[str]:
    """What this kernel lets a process give up."""
    read, write = os.pipe()

    def probe() -> bool:
        os.write(write, " ".join(confine(Limits(), [], [])).encode() + b".")
        return True

    _in_a_fork(probe)
    missing = os.read(read, 1000).decode()
    os.close(read)
    os.close(write)
    return {what for what in ("network", "Files") if what not in missing}


_HERE = _given_up()
needs_landlock = pytest.mark.skipif("Files" not in _HERE, reason="this kernel has no Landlock")
needs_namespaces = pytest.mark.skipif("network" not in _HERE, reason="this kernel grants no network namespace")


def _allowed(action: Callable[[], object]) -> bool:
    try:
        action()
    except OSError:
        return False
    return True


def _confined(folder: Path, action: Callable[[], object], limits: Limits | None = None) -> bool:
    """Whether the action works once `folder/own` is all that may be written to."""
    (folder / "own").mkdir(exist_ok=True)

    def probe() -> bool:
        confine(limits or Limits(), [], [folder / "own"])
        return _allowed(action)

    return _in_a_fork(probe)


def test_it_writes_and_reads_in_its_own_folder(tmp_path: Path) -> None:
    def action() -> None:
        (tmp_path / "own" / "file").write_text("x")
        (tmp_path / "own" / "file").rename(tmp_path / "own" / "other")
        assert (tmp_path / "own" / "other").read_text() == "x"

    assert _confined(tmp_path, action)


@needs_landlock
def test_it_reads_no_file_outside(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    assert _allowed(lambda: (tmp_path / "secret").read_text())
    assert not _confined(tmp_path, lambda: (tmp_path / "secret").read_text())


@needs_landlock
def test_it_writes_no_file_outside(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    assert not _confined(tmp_path, lambda: (tmp_path / "new").write_text("x"))
    assert not _confined(tmp_path, lambda: (tmp_path / "there").write_text("x"))
    assert not _confined(tmp_path, lambda: (tmp_path / "there").unlink())


@needs_landlock
def test_it_reads_what_it_was_given_and_can_not_change_it(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_text("x")

    def probe() -> bool:
        confine(Limits(), [given], [])
        return given.read_text() == "x" and not _allowed(lambda: given.write_text("y"))

    assert _in_a_fork(probe)


@needs_namespaces
def test_it_has_no_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        assert not _confined(tmp_path, lambda: socket.create_connection(address, timeout=2).close())


@needs_landlock
def test_it_starts_programs_that_are_confined_too(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    code = f"open({str(tmp_path / 'secret')!r})"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def probe() -> bool:
        confine(Limits(), [], [])
        runs = subprocess.run([sys.executable, "-I", "-c", "import json"], **quiet).returncode == 0  # type: ignore[call-overload]
        reads = subprocess.run([sys.executable, "-I", "-c", code], **quiet).returncode == 0  # type: ignore[call-overload]
        return runs and not reads

    assert _in_a_fork(probe)


def test_it_gains_no_privileges_by_a_program_of_root(tmp_path: Path) -> None:
    def probe() -> bool:
        confine(Limits(), [], [])
        return "NoNewPrivs:\t1" in Path("/proc/self/status").read_text()

    assert _in_a_fork(probe)


def test_its_data_its_files_and_its_core_are_bounded(tmp_path: Path) -> None:
    def probe() -> bool:
        (tmp_path / "own").mkdir()
        confine(Limits(memory=50_000_000, file_size=1000), [], [tmp_path / "own"])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        large = _allowed(lambda: (tmp_path / "own" / "file").write_bytes(bytes(2000)))
        try:
            bytearray(200_000_000)
        except MemoryError:
            return not large and resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
        return False

    assert _in_a_fork(probe)


def test_the_environment_is_exactly_what_is_given_and_temporary_files_follow(tmp_path: Path) -> None:
    def probe() -> bool:
        set_environment({"TMPDIR": str(tmp_path)})
        return dict(os.environ) == {"TMPDIR": str(tmp_path)} and tempfile.gettempdir() == str(tmp_path)

    assert _in_a_fork(probe)


def test_a_process_dies_with_the_parent_it_was_tied_to() -> None:
    read, write = os.pipe()
    middle = os.fork()
    if middle == 0:
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            die_with_parent(parent)
            os.write(write, str(os.getpid()).encode())
            time.sleep(600)
        os.close(write)
        time.sleep(600)
    os.close(write)
    child = int(os.read(read, 20))
    assert child in descendants(middle)
    os.kill(middle, signal.SIGKILL)
    os.waitpid(middle, 0)
    assert os.read(read, 1) == b""  # the child held the other end; the kernel closed it
    os.close(read)


def test_a_process_whose_parent_is_gone_already_does_not_live_on() -> None:
    def probe() -> bool:
        die_with_parent(1)
        return True

    assert not _in_a_fork(probe)


def test_a_tree_of_processes_is_seen_and_killed_whole_even_in_other_sessions() -> None:
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(600)'],"
        " start_new_session=True, stdout=subprocess.PIPE)\n"
        "p.stdout.read(1); print(p.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as root:
        assert root.stdout is not None
        grandchild = int(root.stdout.readline())
        assert descendants(root.pid) == [root.pid, grandchild]
        assert resident(root.pid) > peak_resident(root.pid) > 1_000_000
        kill_tree(root.pid)
        assert root.wait(10) == -signal.SIGKILL
        until(lambda: not Path(f"/proc/{grandchild}/exe").exists(), 5)


def test_of_a_process_that_is_gone_nothing_is_said() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert resident(gone.pid) == 0
    assert peak_resident(gone.pid) == 0
    kill_tree(gone.pid)
