"""A command in a terminal of its own: what it draws, and keys that are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

__all__ = ["Terminal", "terminal"]


_SIZES = ("COLUMNS", "LINES")
"""Variables that overrule what a terminal says of its size; pytest-xdist sets them."""
_STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _without_size(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in _SIZES}


class Terminal:
    """One command; its standard input, output and error are the terminal."""

    def __init__(self, arguments: tuple[str, ...], columns: int, lines: int) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._file, self._raw = ours, b""
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from burnish.cli import main; main()", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
            env={**_without_size(os.environ), "TERM": "xterm-256color", "PYTHONPATH": os.getcwd()},
        )
        os.close(theirs)

    @property
    def text(self) -> str:
        """All that was drawn up to now, without what steers the terminal."""
        return _STEERING.sub("", self._raw.decode(errors="replace")).replace("\r", "\n")

    def until(self, words: str, seconds: float = 30.0) -> None:
        """Waits until these words were drawn."""
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, f"{words!r} was not drawn:\n{self.text}"
            if not self._read(0.1) and self.process.poll() is not None:
                assert words in self.text, f"it ended without {words!r}:\n{self.text}"

    def press(self, keys: str) -> None:
        """As if typed."""
        os.write(self._file, keys.encode())

    def end(self, seconds: float = 30.0) -> int:
        """The exit code, once it has ended and all is read."""
        end = time.monotonic() + seconds
        while self._read(0.1) or self.process.poll() is None:
            assert time.monotonic() < end, f"it did not end:\n{self.text}"
        return self.process.wait()

    def close(self) -> None:
        """Ends the command if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._file)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._file], [], [], seconds)[0]:
            return False
        try:
            new = os.read(self._file, 65536)
        except OSError:  # how Linux says that the other end is closed
            return False
        self._raw += new
        return bool(new)


@contextmanager
def terminal(*arguments: str, columns: int = 80, lines: int = 24) -> Iterator[Terminal]:
    """Runs `burnish` with these arguments."""
    made = Terminal(arguments, columns, lines)
    try:
        yield made
    finally:
        made.close()


def _take_terminal() -> None:
    """So that Ctrl-C is a signal, and one that counts: who started the tests in the background had it ignored."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
