"""Every technique on every kind of model, as a table: works or refused, quality, size, speed.

    python -m benchmarks.matrix [--models a,b] [--cells x,y] [--zoo FOLDER] [--again] [--measure no|missing|all]
                                [--backends inductor,onnxruntime,openvino] [--seconds 3] [--rounds 7]
                                [--table docs/matrix.md]

Models are made once: packages come from PyPI, npm and Debian into the zoo's folder (`BURNISH_ZOO`, by default
`~/.cache/burnish/zoo`), training takes up to 90 s a model. A cell runs its passes, lowers the result by every automatic
backend and verifies each artifact, in a process of its own. What it came to is kept as JSON there, with the artifacts,
so a run goes on where the last stopped, also with more backends; `--again` runs finished cells anew. Speeds are
measured model by model after their cells; `--measure all` measures all kept artifacts anew, which is what to do on an
idle host. At the end the table of all that is known is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.matrix.available import available
from benchmarks.matrix.cells import CELLS, CELLS_BY_NAME, Cell
from benchmarks.matrix.child import Crashed, in_child
from benchmarks.matrix.models import MODELS, MODELS_BY_NAME, Model
from benchmarks.matrix.records import Records
from benchmarks.matrix.run import failure, measure_cells, run_cell
from benchmarks.matrix.table import document
from benchmarks.matrix.zoo import Zoo, default_folder
from benchmarks.options import named, publish
from burnish.recipe import AUTOMATIC_BACKENDS

__all__ = ["main"]

_LIMIT = 900.0
"""Seconds for a cell, and for measuring a few."""
_AT_ONCE = 12
"""Cells measured in one run: each has up to three contenders, and all of them are loaded."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=named(MODELS_BY_NAME), default=MODELS)
    parser.add_argument("--cells", type=named(CELLS_BY_NAME), default=CELLS)
    parser.add_argument("--zoo", type=Path, default=default_folder())
    parser.add_argument(
        "--backends", type=named({name: name for name in AUTOMATIC_BACKENDS}), default=AUTOMATIC_BACKENDS
    )
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--measure", choices=("no", "missing", "all"), default="missing")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring, per run of the protocol")
    parser.add_argument("--rounds", type=int, default=7, help="least number of rounds")
    parser.add_argument("--table", type=Path, default=None, help="where the page goes; by default it is printed")
    options = parser.parse_args(arguments)
    records, zoo = Records(options.zoo / "matrix"), Zoo(options.zoo)
    plan = {"seconds": options.seconds, "min_rounds": options.rounds, "warm_up_seconds": options.seconds}
    for model in options.models:
        if available(model, zoo, records):
            _run(model, options, records)
            if options.measure != "no":
                _measure(model, options.cells, records, plan, options.measure == "all")
    publish(document(records), options.table)


def _run(model: Model, options: argparse.Namespace, records: Records) -> None:
    cells: Sequence[Cell] = options.cells
    for cell in cells:
        if options.again or _is_open(records.read(model.name, cell.name), options.backends):
            log = records.folder / model.name / f"log-{cell.name.replace(':', '-')}"
            try:
                in_child(run_cell, model.name, cell, records, options.backends, options.again, limit=_LIMIT, log=log)
            except Crashed as crash:
                records.write(model.name, cell.name, failure(crash))
            found = records.read(model.name, cell.name)
            assert found is not None
            reason = found.get("reason", "")[-300:]
            print(f"{model.name} {cell.name}: {found['state']} {found.get('seconds', 0):.0f} s {reason}", flush=True)


def _is_open(record: dict[str, Any] | None, backends: Sequence[str]) -> bool:
    """True if the cell has not run for all of these. One that failed in its passes is left, as it was told."""
    return record is None or ("backends" in record and not set(backends) <= set(record["backends"]))


def _measure(model: Model, cells: Sequence[Cell], records: Records, plan: dict[str, Any], every: bool) -> None:
    found = {cell.name: records.read(model.name, cell.name) or {} for cell in cells}
    open_cells = [
        name for name, record in found.items() if record.get("state") == "works" and (every or "speed" not in record)
    ]
    for some in _groups(open_cells):
        log = records.folder / model.name / "log-measure"
        try:
            in_child(measure_cells, model, some, records, plan, limit=_LIMIT, log=log)
        except Crashed as crash:
            print(f"{model.name}: measuring {', '.join(some)}: {crash}", flush=True)


def _groups(names: Sequence[str]) -> list[list[str]]:
    return [list(names[start : start + _AT_ONCE]) for start in range(0, len(names), _AT_ONCE)]


if __name__ == "__main__":
    main()
