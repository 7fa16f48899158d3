"""`python -P -m api`: serves the REST API and the pages."""

from __future__ import annotations

import os
import sys

from api.server import Server, check_listen
from burnish.errors import BurnishError
from burnish.logs import start_log
from burnish.settings import Settings
from storage.database import Database

__all__ = ["main"]


def main() -> int:
    """Reads the environment, brings the database up to date, serves. Exit status 2 for a bad setting."""
    start_log("api")
    try:
        settings = Settings.from_environment(os.environ)
        start_log("api", settings.log)
        check_listen(settings)
        database = Database(settings.database_url)
        database.migrate()
        database.close()
    except BurnishError as error:
        print(f"burnish api: {error}", file=sys.stderr)
        return 2 if error.error_class == "user" else 1
    Server(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
