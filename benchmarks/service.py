"""A service of its own for a benchmark: the embedded one, on a fresh data folder, stopped at the end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from burnish import Client
from burnish.local.running import ensure, find, stop

__all__ = ["process_tree", "resident_bytes", "service"]


@contextmanager
def service() -> Iterator[tuple[Client, Path]]:
    """Starts everything on an empty data folder; yields a client and that folder."""
    with tempfile.TemporaryDirectory(prefix="burnish-benchmark-", ignore_cleanup_errors=True) as name:
        data = Path(name)
        os.environ.update(BURNISH_DATA=str(data), BURNISH_LISTEN="127.0.0.1:0")
        ensure(data)
        try:
            running = find(data)
            assert running is not None
            with Client(running.url) as client:
                yield client, data
        finally:
            stop(data)


def process_tree(root: int) -> list[int]:
    """A process and everything below it."""
    try:
        threads = Path(f"/proc/{root}/task").iterdir()
        children = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [root, *(pid for child in children for pid in process_tree(child))]


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)
