"""`python -m workers`: a worker, with the settings of the environment."""

from __future__ import annotations

from burnish.settings import Settings
from burnish.starting import run_part
from storage.places import prepare, warn_of_absent
from workers.worker import leave, run_worker

__all__ = ["main"]


def main() -> int:
    """Runs until SIGTERM. Exit status as `run_part` has it."""
    return run_part("worker", _serve)


def _serve(settings: Settings) -> None:
    prepare(settings)
    warn_of_absent(settings)
    run_worker(settings)


if __name__ == "__main__":
    leave(main())
