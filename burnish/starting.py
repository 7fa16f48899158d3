"""How a process of the service starts: what keeps it from that is one line on standard error, and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from burnish.errors import BurnishError
from burnish.logs import start_log
from burnish.settings import Settings

__all__ = ["run_part"]


def run_part(part: str, serve: Callable[[Settings], object]) -> int:
    """Reads the environment, starts the log and serves.

    Args:
        part: the process, as `burnish.logs.start_log` takes it.

    Returns:
        The exit status: 0; 2 for a setting that can't be used; 1 if something that it needs does not work.
    """
    start_log(part)
    try:
        settings = Settings.from_environment(os.environ)
        start_log(part, settings.log)
        serve(settings)
    except BurnishError as error:
        print(f"burnish {part}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if error.error_class == "user" else 1
    return 0
