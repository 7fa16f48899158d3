"""Turns: priorities with ageing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_READY = sa.text("state = 'ready'")


def upgrade() -> None:
    op.add_column("computations", sa.Column("turn", sa.Double(), nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE computations SET turn = run_after + 600.0 * priority")
    op.drop_index("ix_computations_due", "computations")
    op.create_index("ix_computations_due", "computations", ["turn"], postgresql_where=_READY, sqlite_where=_READY)
