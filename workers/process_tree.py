"""What `/proc` tells of a process and all it started: memory, and how to end the lot."""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["descendants", "kill_tree", "peak_resident", "resident"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def descendants(root: int) -> list[int]:
    """`root` and every process below it, whatever session or group it moved to; parents come first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (parent := _parent(int(entry))) is not None:
            children.setdefault(parent, []).append(int(entry))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name is in parentheses and may hold anything, so count from the last one: state, then parent.
    return int(stat.rpartition(")")[2].split()[1])


def resident(root: int) -> int:
    """Bytes resident now in `root` and all below it. Pages they share are counted once per process."""
    return sum(_resident(pid) for pid in descendants(root))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0


def peak_resident(pid: int) -> int:
    """`VmHWM` of one process in bytes; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def kill_tree(root: int) -> None:
    """SIGKILL for the process group of `root` and for whatever of its descendants left that group."""
    pids = descendants(root)
    for kill, target in [(os.killpg, root), *((os.kill, pid) for pid in pids)]:
        try:
            kill(target, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue  # gone already, or (group) not a leader yet: the single kills reach it
