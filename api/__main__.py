"""`python -P -m api`: serves the REST API and the pages."""

from __future__ import annotations

import sys
import time

from api.server import Server, check_listen
from burnish.errors import BadSetting
from burnish.local.ports import is_free
from burnish.settings import Settings
from burnish.starting import run_part
from storage.places import prepare

__all__ = ["main"]

_PATIENCE = 5.0
"""Seconds that the port may still be held by an API that is ending."""


def main() -> int:
    """Reads the environment, brings the database up to date, serves. Exit status as `run_part` has it."""
    return run_part("api", _serve)


def _serve(settings: Settings) -> None:
    check_listen(settings)
    prepare(settings)
    _wait_for_port(settings)
    Server(settings).run()


def _wait_for_port(settings: Settings) -> None:
    """Raises `BadSetting`: the port is another's, or the host is not this machine's."""
    (variable, value), (host, port) = settings.told("listen"), settings.listen
    until = time.monotonic() + _PATIENCE
    try:
        while not is_free(host, port):
            if time.monotonic() > until:
                raise BadSetting(
                    f"{variable} is {value}, and the port is in use, or not for this user.",
                    cure="End what listens there (is another API running?), or choose another port.",
                    where=variable,
                )
            time.sleep(0.2)
    except OSError as error:
        raise BadSetting(
            f"{variable} is {value}, and one can't listen there: {error.strerror or error}.",
            cure="Set it to an address of this machine, like 127.0.0.1:8520, or 0.0.0.0:8520 for all it has.",
            where=variable,
        ) from error


if __name__ == "__main__":
    sys.exit(main())
