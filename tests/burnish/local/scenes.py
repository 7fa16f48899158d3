"""Driving `stand_in` from a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
"""Seconds after which a test gives up; on a busy machine a Python needs a second to start."""


class Scene:
    """A running supervisor over stand-in parts."""

    def __init__(self, name: str, data: Path) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.burnish.local.stand_in", name, str(data)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.said = ""

    def hear(self, words: str) -> str:
        """Waits until the supervisor has said a line with these words, and gives that line."""
        assert self.process.stdout is not None
        for line in iter(self.process.stdout.readline, ""):  # pytest's timeout ends a wait for nothing
            self.said += line
            if words in line:
                return line
        raise AssertionError(f"never said {words!r}, but:\n{self.said}")

    def pid(self, name: str) -> int:
        """Process id that a part gave when it was last up."""
        return int((self.data / f"{name}.pid").read_text())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; gives the exit status."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Waits until the supervisor has ended; gives its exit status."""
        assert self.process.stdout is not None
        rest = self.process.communicate(timeout=PATIENCE)[0]
        self.said += rest
        return self.process.returncode


@contextmanager
def playing(name: str, data: Path) -> Iterator[Scene]:
    """A scene that is over, whatever the test does, when the block ends."""
    scene = Scene(name, data)
    try:
        yield scene
    finally:
        if scene.process.poll() is None:
            scene.process.kill()
        scene.process.wait()
        if scene.process.stdout is not None:
            scene.process.stdout.close()


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], bool], what: str) -> None:
    """Looks again and again until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.01)  # other processes bring it about; the condition is what synchronises
