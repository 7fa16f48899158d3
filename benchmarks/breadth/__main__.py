"""Chains of passes on the architectures that people use, with random weights: what works, is refused or fails.

    python -m benchmarks.breadth [--only a,b] [--cells x,y] [--jobs 2] [--zoo FOLDER] [--again]
                                 [--table docs/breadth.md]

Packages come from PyPI into the zoo's folder (`BURNISH_ZOO`, by default `~/.cache/burnish/zoo`), their wheels alone.
Each cell runs its passes, lowers the result and verifies the artifact against the program that it was made from, in a
process of its own with one thread. What it came to is kept as JSON there, so a run goes on where the last stopped;
`--again` runs finished cells anew. No speed is measured, so that several architectures may run at once: `--jobs`.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.breadth.architectures import ARCHITECTURES, ARCHITECTURES_BY_NAME
from benchmarks.breadth.cells import CELLS, CELLS_BY_NAME, cells_of
from benchmarks.breadth.run import run
from benchmarks.breadth.table import document
from benchmarks.matrix.records import Records
from benchmarks.matrix.zoo import Zoo, default_folder
from benchmarks.options import named, publish

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=named(ARCHITECTURES_BY_NAME), default=ARCHITECTURES)
    parser.add_argument("--cells", type=named(CELLS_BY_NAME), default=CELLS)
    parser.add_argument("--jobs", type=int, default=1, help="architectures at a time, one thread each")
    parser.add_argument("--zoo", type=Path, default=default_folder())
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--table", type=Path, default=None, help="where the page goes; by default it is printed")
    options = parser.parse_args(arguments)
    records, zoo = Records(options.zoo / "breadth"), Zoo(options.zoo)
    for package in dict.fromkeys(package for each in options.only for package in each.packages):
        zoo.wheel(package)  # before the jobs, so that no two of them unpack it
    # Forked, as the cells are: these processes must not have computed with torch either.
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("fork")) as jobs:
        open_cells = {each.name: _open(each.name, options, records) for each in options.only}
        running = [jobs.submit(run, name, cells, zoo, records) for name, cells in open_cells.items() if cells]
        for each in running:
            each.result()
    publish(document(records), options.table)


def _open(name: str, options: argparse.Namespace, records: Records) -> list[str]:
    """Names of the cells that were asked for and have not run; a network that can't be exported is not tried again."""
    known = records.exported(name) or {}
    wanted = [cell.name for cell in cells_of(ARCHITECTURES_BY_NAME[name]) if cell in options.cells]
    if options.again:
        return wanted
    return [] if "refused" in known else [cell for cell in wanted if records.read(name, cell) is None]


if __name__ == "__main__":
    main()
