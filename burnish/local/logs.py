"""The log files of the parts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

__all__ = ["tail", "trim"]

LIMIT = 20 << 20
"""Bytes a log may have before it is set aside."""


def tail(path: Path, *, after: int = 0, lines: int = 25) -> str:
    """The last lines of a log, not counting its first `after` bytes; a note if there is nothing."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(after, size - (64 << 10), 0))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        text = ""
    last = [line for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join(last) or "(its log is empty)"


def trim(path: Path) -> None:
    """Sets a log that grew too long aside as `<name>.1`. Its writer goes on in the same, emptied file (it appends)."""
    try:
        if path.stat().st_size > LIMIT:
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)
    except FileNotFoundError:
        return
