"""Schedules, aliases and webhooks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("log", sa.JSON(), nullable=False),
        sa.Column("redelivery", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_deliveries_state")),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_created_at", "deliveries", ["created_at"])
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["next_at"],
        postgresql_where=sa.text("state = 'pending'"),
        sqlite_where=sa.text("state = 'pending'"),
    )
    op.create_index("ix_deliveries_webhook_id_id", "deliveries", ["webhook_id", "id"])
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("types", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("old_secret", sa.Text()),
        sa.Column("old_secret_until", sa.Double()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("failing_since", sa.Double()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.CheckConstraint("(state = 'disabled') = (reason IS NOT NULL)", name=op.f("ck_webhooks_reason")),
        sa.CheckConstraint("state IN ('enabled', 'disabled')", name=op.f("ck_webhooks_state")),
        sa.CheckConstraint("(old_secret IS NULL) = (old_secret_until IS NULL)", name=op.f("ck_webhooks_old_secret")),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_table(
        "alias_entries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("artifact", sa.JSON(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("candidate", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("previous_id", sa.Text()),
        sa.Column("kept", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("action IN ('set', 'promoted', 'rolled_back')", name=op.f("ck_alias_entries_action")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_alias_entries_job_id"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_alias_entries_model_id"),
        sa.ForeignKeyConstraint(["previous_id"], ["alias_entries.id"], name="fk_alias_entries_previous_id"),
        sa.PrimaryKeyConstraint("id", name="pk_alias_entries"),
        sa.UniqueConstraint("model", "alias", "revision", name="uq_alias_entries_model_alias_revision"),
    )
    op.create_index("ix_alias_entries_digest", "alias_entries", ["digest"])
    op.create_table(
        "schedules",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("occasion", sa.Text()),
        sa.Column("seen", sa.JSON()),
        sa.Column("anchor", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double()),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("last_job_id", sa.Text()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "next_at IS NULL OR state = 'active' AND occasion IS NULL", name=op.f("ck_schedules_next_at")
        ),
        sa.CheckConstraint("state IN ('active', 'paused')", name=op.f("ck_schedules_state")),
        sa.ForeignKeyConstraint(["last_job_id"], ["jobs.id"], name="fk_schedules_last_job_id"),
        sa.PrimaryKeyConstraint("id", name="pk_schedules"),
        sa.UniqueConstraint("name", name="uq_schedules_name"),
    )
    op.create_index(
        "ix_schedules_due",
        "schedules",
        ["next_at"],
        postgresql_where=sa.text("next_at IS NOT NULL"),
        sqlite_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_index(
        "ix_schedules_occasion",
        "schedules",
        ["occasion"],
        postgresql_where=sa.text("occasion IS NOT NULL"),
        sqlite_where=sa.text("occasion IS NOT NULL"),
    )
    op.create_table(
        "aliases",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("entry_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["alias_entries.id"], name="fk_aliases_entry_id"),
        sa.PrimaryKeyConstraint("model", "alias", name="pk_aliases"),
    )
    op.create_table(
        "firings",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("schedule_id", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double()),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text()),
        sa.Column("contest", sa.JSON()),
        sa.Column("decision", sa.JSON()),
        sa.CheckConstraint("(outcome = 'fired') = (job_id IS NOT NULL)", name=op.f("ck_firings_job")),
        sa.CheckConstraint("outcome IN ('fired', 'waiting', 'skipped')", name=op.f("ck_firings_outcome")),
        sa.CheckConstraint("decision IS NULL OR contest IS NOT NULL", name=op.f("ck_firings_decision")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_firings_job_id"),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedules.id"], name="fk_firings_schedule_id"),
        sa.PrimaryKeyConstraint("id", name="pk_firings"),
        sa.UniqueConstraint("job_id", name="uq_firings_job_id"),
    )
    op.create_index("ix_firings_schedule_id_id", "firings", ["schedule_id", "id"])
    op.create_index(
        "ix_firings_waiting",
        "firings",
        ["schedule_id"],
        unique=True,
        postgresql_where=sa.text("outcome = 'waiting'"),
        sqlite_where=sa.text("outcome = 'waiting'"),
    )
