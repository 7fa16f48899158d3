"""`python -m workers`: a worker, with the settings of the environment."""

from __future__ import annotations

import os
import sys

from burnish.errors import BurnishError
from burnish.settings import Settings
from workers.worker import run_worker, start_log

__all__ = ["main"]


def main() -> int:
    """Runs until SIGTERM; 0, or 1 with the reason on stderr."""
    start_log()
    try:
        run_worker(Settings.from_environment(os.environ))
    except BurnishError as error:
        print(f"burnish worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
