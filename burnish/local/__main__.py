"""`python -P -m burnish.local`: the embedded service, as `running.ensure` starts it."""

from __future__ import annotations

import functools
import os
import sys

from burnish.errors import BurnishError
from burnish.local.supervisor import run
from burnish.settings import Settings


def main() -> int:
    """Runs until a signal. Exit status 1 with the reason on standard error if it can't."""
    try:
        run(Settings.from_environment(os.environ), functools.partial(print, flush=True))
    except BurnishError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
