"""The log file of a step's process, read line by line as it grows."""

from __future__ import annotations

from pathlib import Path

__all__ = ["StepLog", "tail"]

_LINES = 100
_LINE = 500
_BYTES = _LINES * _LINE
_TAIL = 4096


class StepLog:
    """Where the reader is in a log. Lines count as read when `taken` is called: what could not be kept comes again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = self._next = 0

    def lines(self, *, ended: bool = False) -> list[str]:
        """The next whole lines, a bounded number of them, each cut to 500 characters; empty ones are left out.

        Args:
            ended: nobody writes any more, so the last line is whole even without an end.
        """
        self._next = self._read
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(self._read)
            data = log.read(_BYTES)
        found: list[str] = []
        while len(found) < _LINES and data:
            line, end, data = data.partition(b"\n")
            if not end and not ended and len(line) < _BYTES:
                break  # half a line
            self._next += len(line) + len(end)
            # A progress bar goes back to the start of its line: what stands there in the end is what counts.
            shown = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")[:_LINE]
            if shown.strip():
                found.append(shown)
        return found

    def taken(self) -> int:
        """The lines are kept; how many bytes they took, 0 if there was nothing to read."""
        moved, self._read = self._next - self._read, self._next
        return moved

    def more(self) -> bool:
        """Whether there are lines behind those that `lines` gave last."""
        return self._path.exists() and self._path.stat().st_size > self._next

    def unread(self) -> int:
        """Bytes that nobody has read."""
        return self._path.stat().st_size - self._read if self._path.exists() else 0


def tail(log: Path) -> str:
    """The last 4 KiB of a log file; empty if there is none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        return file.read().decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
