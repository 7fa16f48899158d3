"""Run by Alembic, on the connection and in the transaction that `storage/migrate.py` opened."""

from __future__ import annotations

from alembic import context

from storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite can, as `Database` begins transactions itself
)
context.run_migrations()
