"""What is known of each cell, as JSON in the cache folder: a run goes on where the last one stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Records"]


class Records:
    """One folder per model, one below it per cell: `cell.json`, `speed.json` and the artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, model: str, cell: str) -> Path:
        """Where a cell's files lie."""
        return self.folder / model / cell.replace(":", "-")

    def read(self, model: str, cell: str) -> dict[str, Any] | None:
        """What a cell came to, with its speeds under `speed` if they were measured; `None` if it has not run."""
        found = _read(self.place(model, cell) / "cell.json")
        speed = _read(self.place(model, cell) / "speed.json")
        return found if found is None or speed is None else {**found, "speed": speed}

    def unavailable(self, model: str) -> str | None:
        """Why a model could not be had; `None` if it was, or has not been tried."""
        path = self.folder / model / "unavailable.json"
        return str(json.loads(path.read_text())) if path.exists() else None

    def exported(self, model: str) -> dict[str, Any] | None:
        """How a model was exported, or under `refused` why not; `None` if that is not known."""
        return _read(self.folder / model / "export.json")

    def write_exported(self, model: str, found: Mapping[str, Any]) -> None:
        """Keeps how a model was exported."""
        _write(self.folder / model / "export.json", found)

    def write_unavailable(self, model: str, why: str) -> None:
        """Keeps why a model could not be had."""
        (self.folder / model / "unavailable.json").write_text(json.dumps(why))

    def write(self, model: str, cell: str, found: Mapping[str, Any]) -> None:
        """Keeps what a cell came to; speeds of an earlier run are void."""
        (self.place(model, cell) / "speed.json").unlink(missing_ok=True)
        _write(self.place(model, cell) / "cell.json", found)

    def write_speed(self, model: str, cell: str, speed: Mapping[str, Any]) -> None:
        """Keeps its speeds."""
        _write(self.place(model, cell) / "speed.json", speed)


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def _write(path: Path, plain: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(plain, indent=1))
    part.replace(path)
