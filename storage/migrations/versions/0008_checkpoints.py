"""Checkpoints of long computations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "checkpoints",
        sa.Column("key", sa.Text(), sa.ForeignKey("computations.key"), primary_key=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("hold_id", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False, index=True),
    )
