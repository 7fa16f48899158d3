"""`python -m storage.migrate`: brings the database at BURNISH_DATABASE_URL, an empty one too, to this version."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from burnish.errors import BadSetting

__all__ = ["main", "upgrade"]

_LOCK_ID = 7_205_113
"""PostgreSQL's advisory lock that one migrating process holds; any number that nobody else uses."""
_in_this_process = threading.Lock()
"""Alembic keeps its context in module globals."""


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Runs the missing revisions of `storage/migrations/` in one transaction; others that try it meanwhile wait.

    An earlier `revision` than the newest is of use to tests only.

    Raises:
        BadSetting: the database is of a newer version than this program.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with _in_this_process, engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_ID})"))
        if not _at_head(config, connection):
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as error:
                raise BadSetting(
                    f"The database is of a newer version of Burnish than this one: {error}.",
                    cure="Run the version that made it, or a later one; or restore a dump from before the upgrade.",
                    where="BURNISH_DATABASE_URL",
                ) from error


def _at_head(config: Config, connection: Connection) -> bool:
    heads = ScriptDirectory.from_config(config).get_heads()
    return set(MigrationContext.configure(connection).get_current_heads()) == set(heads)


def main() -> int:
    """Brings the database up to date. Exit status as `run_part` has it."""
    from burnish.starting import run_part
    from storage.places import migrate  # both import what imports this

    return run_part("migrate", migrate)


if __name__ == "__main__":
    sys.exit(main())
