"""What all tables share: the metadata they are in, the type of their JSON columns, and the check of a state."""

from __future__ import annotations

from sqlalchemy import JSON, CheckConstraint, MetaData

__all__ = ["Json", "metadata", "one_of"]

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
