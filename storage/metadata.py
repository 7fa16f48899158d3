"""What all tables share: the metadata, the type of their JSON columns, the check of a state, indexes of some rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, CheckConstraint, MetaData, text

__all__ = ["Json", "metadata", "one_of", "only"]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Json = JSON(none_as_null=True)
"""`json`, not `jsonb`, on PostgreSQL: log tails may hold NUL characters, and the order of keys is kept."""


def one_of(column: str, *names: str) -> CheckConstraint:
    """The check that a column holds one of these."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(name) for name in names)})", name=column)


def only(condition: str) -> dict[str, Any]:
    """Options of an index that has only the rows for which this holds, on either database."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}
