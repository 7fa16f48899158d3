"""The service under torture, long form: jobs lost, committed twice or corrupt while its processes are killed.

    python -m benchmarks.torture [--jobs 1000] [--faults 320] [--seed N] [--where servers|embedded] [--seconds S]

The same program as `tests/acceptance/test_torture.py`; with servers, a run of two minutes or more has one outage of the
store of 20 to 30 s besides the short ones. Exit status 1 if a promise was broken. A run is repeated by its seed and its
numbers, which it prints first. Of so many faults some find nothing to hit: 300 and more do hit.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence

from tests.acceptance.torture.run import torture

__all__ = ["main"]

_SECONDS_PER_FAULT = 2.0
_PATIENCE = 900.0


def main(arguments: Sequence[str] = ("--jobs", "100", "--faults", "40")) -> int:
    """Runs it and prints what it did and found; with no arguments a short one, for `python -m benchmarks`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=320)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--where", choices=("servers", "embedded"), default="servers")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=None, help="length; by default two seconds for each fault")
    chosen = parser.parse_args(arguments)
    report = torture(
        chosen.where,
        secrets.randbelow(10**6) if chosen.seed is None else chosen.seed,
        jobs=chosen.jobs,
        faults=chosen.faults,
        seconds=chosen.seconds or _SECONDS_PER_FAULT * chosen.faults,
        workers=chosen.workers,
        patience=_PATIENCE,
        say=lambda line: print(line, flush=True),
    )
    print(report.text(), flush=True)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
