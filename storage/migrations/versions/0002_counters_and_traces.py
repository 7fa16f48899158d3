"""Running sums for metrics, which start with what has ended already; the trace that a job belongs to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ENDED = {
    "jobs": "SELECT 'jobs', '[\"' || state || '\"]', 0, count(*) FROM jobs"
    " WHERE state IN ('succeeded', 'failed', 'canceled') GROUP BY state",
    "computations": "SELECT 'computations', '[\"' || state || '\", \"' || queue || '\"]', 0, count(*) FROM computations"
    " WHERE state IN ('done', 'failed', 'canceled') GROUP BY state, queue",
}


def upgrade() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", "shard", name="pk_counters"),
    )
    for ended in _ENDED.values():
        op.execute(f"INSERT INTO counters (name, labels, shard, value) {ended}")
    op.add_column("jobs", sa.Column("traceparent", sa.Text()))
