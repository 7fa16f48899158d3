"""`python -m storage.migrate`: brings the database at BURNISH_DATABASE_URL, an empty one too, to this version."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

__all__ = ["upgrade"]

_LOCK_ID = 7_205_113
"""PostgreSQL's advisory lock that one migrating process holds; any number that nobody else uses."""
_in_this_process = threading.Lock()
"""Alembic keeps its context in module globals."""


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Runs the missing revisions of `storage/migrations/` in one transaction; others that try it meanwhile wait.

    An earlier `revision` than the newest is of use to tests only.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with _in_this_process, engine.connect() as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_ID})"))
        if not _at_head(config, connection):
            config.attributes["connection"] = connection
            command.upgrade(config, revision)


def _at_head(config: Config, connection: Connection) -> bool:
    heads = ScriptDirectory.from_config(config).get_heads()
    return set(MigrationContext.configure(connection).get_current_heads()) == set(heads)


if __name__ == "__main__":
    from burnish.settings import Settings
    from storage.database import Database

    Database(Settings.from_environment(os.environ).database_url).migrate()
