"""The outcome of a job beside its verdict, so that a list can be filtered by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("outcome", sa.Text()))
    op.execute("UPDATE jobs SET outcome = verdict ->> 'outcome' WHERE verdict IS NOT NULL")
    op.create_index("ix_jobs_outcome_id", "jobs", ["outcome", "id"])
