"""`python -m tests.acceptance.worker`: a real worker with the scripted steps, which need no torch."""

from __future__ import annotations

import os
import sys

from burnish.logs import start_log
from burnish.settings import Settings
from workers.worker import leave, run_worker

if __name__ == "__main__":
    settings = Settings.from_environment(os.environ)
    start_log("worker", settings.log)
    grace = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    run_worker(settings, table="tests.acceptance.scripted", preload=(), grace=grace)
    leave(0)
