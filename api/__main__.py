"""`python -P -m api`: serves the REST API and the pages."""

from __future__ import annotations

import logging
import os
import sys

from api.server import Server, check_listen
from burnish.errors import BurnishError
from burnish.settings import Settings
from storage.database import Database

__all__ = ["main"]


def main() -> int:
    """Reads the environment, brings the database up to date, serves. Exit status 2 for a bad setting."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it announces each of its plugins
    try:
        settings = Settings.from_environment(os.environ)
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
