"""What the collector of blobs decides by: pinned models, who made a blob, who is about to use one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("pinned_at", sa.Double()))
    op.create_index("ix_models_digest", "models", ["digest"])
    op.create_index("ix_datasets_digest", "datasets", ["digest"])
    op.add_column("blobs", sa.Column("doomed_at", sa.Double()))
    op.create_index("ix_blobs_seen_at", "blobs", ["seen_at"])
    op.create_index(
        "ix_blobs_doomed",
        "blobs",
        ["doomed_at"],
        postgresql_where=sa.text("doomed_at IS NOT NULL"),
        sqlite_where=sa.text("doomed_at IS NOT NULL"),
    )
    op.create_table(
        "chores",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_chores"),
    )
    op.create_table(
        "holds",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_holds"),
    )
    op.create_index("ix_holds_digest", "holds", ["digest"])
    op.create_index("ix_holds_until", "holds", ["until"])
    op.create_table(
        "products",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["key"], ["computations.key"], name="fk_products_key"),
        sa.PrimaryKeyConstraint("digest", "key", name="pk_products"),
    )
    op.create_index("ix_products_key", "products", ["key"])
    _fill_products()


def _fill_products() -> None:
    """The outputs of what is done already."""
    computations = sa.table("computations", sa.column("key", sa.Text()), sa.column("outputs", sa.JSON()))
    products = sa.table("products", sa.column("digest", sa.Text()), sa.column("key", sa.Text()))
    connection = op.get_bind()
    done = connection.execute(
        sa.select(computations.c.key, computations.c.outputs).where(sa.text("state = 'done'"))
    ).all()
    rows = [{"digest": digest, "key": row.key} for row in done for digest in sorted(set(row.outputs.values()))]
    if rows:
        connection.execute(sa.insert(products), rows)
