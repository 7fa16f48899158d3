"""`python -m workers`: a worker, with the settings of the environment."""

from __future__ import annotations

import os
import sys

from burnish.errors import BurnishError
from burnish.logs import start_log
from burnish.settings import Settings
from workers.worker import run_worker

__all__ = ["main"]


def main() -> int:
    """Runs until SIGTERM; 0, or 1 with the reason on stderr."""
    start_log("worker")
    try:
        settings = Settings.from_environment(os.environ)
        start_log("worker", settings.log)
        run_worker(settings)
    except BurnishError as error:
        print(f"burnish worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
