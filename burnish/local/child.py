"""A child process that can't outlive its supervisor, and the orphans that a child may leave."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from burnish.local.part import Part
from burnish.local.signals import Signals

__all__ = ["Child", "adopting_orphans", "die_with", "kill_orphans", "reap_orphans"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)  # loaded here: nothing should be loaded between fork and exec


class Child:
    """A running part, in a process group of its own, writing to its log."""

    def __init__(self, part: Part, folder: Path, log: Path) -> None:
        """Starts it with `folder` as its working directory. Raises the `OSError` of a command that can't be started."""
        self.part = part
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                part.command,
                cwd=folder,
                env=dict(part.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C in a terminal reaches the supervisor alone, which stops the parts in order
                preexec_fn=partial(die_with, os.getpid()),  # the supervisor has one thread, so this is safe
            )

    @property
    def pid(self) -> int:
        """Process id; also the id of its process group."""
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit status (minus the signal's number, if one ended it), None while it runs.

        When it has ended, what is left of its process group is killed.
        """
        if self._process.returncode is None:
            # Looked at before it is reaped: until then nobody else can get its number, so the group is surely its own.
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            self._kill_group(signal.SIGKILL)
        return self._process.wait()

    def stop(self, signals: Signals) -> None:
        """SIGTERM, and SIGKILL after the part's time or when stopping is asked for again; returns when it is gone."""
        if self.ended() is not None:
            return
        self._kill_group(signal.SIGTERM)
        left = self.part.stop_seconds
        while self.ended() is None and left > 0 and signals.count < 2:
            signals.wait(0.1)
            left -= 0.1
        if self.ended() is None:
            self._kill_group(signal.SIGKILL)
            self._process.wait()

    def _kill_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left, or (macOS) only the unreaped leader
            os.killpg(self.pid, number)


def die_with(parent: int) -> None:
    """In the child, before it becomes the part: killed by the kernel when the supervisor ends, however it ends."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def adopting_orphans() -> Iterator[None]:
    """In the block, processes whose parents died become children of this one, so that `kill_orphans` finds them."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        if sys.platform == "linux":
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def kill_orphans(known: Collection[int]) -> int:
    """Kills and reaps every child of this process that is not `known`, and what those leave; gives the count."""
    count = 0
    while orphans := [pid for pid in _children() if pid not in known]:
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
            count += 1
    return count


def reap_orphans(known: Collection[int]) -> None:
    """Reaps the children that are not `known` and have ended; those that run are left alone."""
    for pid in _children():
        if pid not in known:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _children() -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended while we looked
            # The name in parentheses may hold anything; behind it come the state and the parent.
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == os.getpid():
                yield int(stat.parent.name)
