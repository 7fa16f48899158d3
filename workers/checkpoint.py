"""Where a long step leaves how far it got; the worker keeps it for the attempt after (`checkpoints.py`)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Checkpoint"]

_LEAST_GAP = 5.0
"""Seconds between two that are written."""


@dataclass
class Checkpoint:
    """Reads the last one, and writes the next. Without a place it does neither."""

    found: Path | None = None
    """What an earlier attempt left."""
    place: Path | None = None
    """Where to write; replaced whole each time."""
    least_gap: float = _LEAST_GAP
    _next: float = field(default=0.0, init=False)

    def read(self) -> bytes | None:
        """What the last attempt at this computation wrote last; `None` if it wrote nothing, or there was none."""
        return None if self.found is None else self.found.read_bytes()

    @property
    def due(self) -> bool:
        """True if enough time has passed since the last one to write again."""
        return self.place is not None and time.monotonic() >= self._next

    def write(self, content: bytes) -> None:
        """Writes it, whole or not at all."""
        if self.place is None:
            return
        part = self.place.with_suffix(".part")
        part.write_bytes(content)
        part.replace(self.place)
        self._next = time.monotonic() + self.least_gap
