"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
    )
    op.create_table(
        "computations",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("op", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("inputs", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("key_parts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("environment", sa.Text()),
        sa.Column("alone", sa.Boolean(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text()),
        sa.Column("lease_until", sa.Double()),
        sa.Column("seen_at", sa.Double()),
        sa.Column("run_after", sa.Double(), nullable=False),
        sa.Column("dispatched_at", sa.Double()),
        sa.Column("cancel", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("doing", sa.Text()),
        sa.Column("outputs", sa.JSON(none_as_null=True)),
        sa.Column("report", sa.JSON(none_as_null=True)),
        sa.Column("error", sa.JSON(none_as_null=True)),
        sa.Column("reasons", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("seconds", sa.Double()),
        sa.Column("peak_memory", sa.BigInteger()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double()),
        sa.Column("finished_at", sa.Double()),
        sa.CheckConstraint("(state = 'done') = (outputs IS NOT NULL)", name=op.f("ck_computations_outputs")),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_computations_error")),
        sa.CheckConstraint("(state = 'leased') = (lease_until IS NOT NULL)", name=op.f("ck_computations_lease")),
        sa.CheckConstraint("state <> 'leased' OR worker IS NOT NULL", name=op.f("ck_computations_worker")),
        sa.CheckConstraint("state = 'leased' OR NOT cancel", name=op.f("ck_computations_cancel")),
        sa.CheckConstraint(
            "state IN ('ready', 'leased', 'done', 'failed', 'canceled')", name=op.f("ck_computations_state")
        ),
        sa.CheckConstraint(
            "state NOT IN ('ready', 'leased') OR failures < max_attempts", name=op.f("ck_computations_attempts_left")
        ),
        sa.CheckConstraint(
            "failures BETWEEN 0 AND max_attempts AND failures <= attempt", name=op.f("ck_computations_failures")
        ),
        sa.PrimaryKeyConstraint("key", name="pk_computations"),
    )
    op.create_index(
        "ix_computations_due",
        "computations",
        ["priority", "run_after"],
        postgresql_where=sa.text("state = 'ready'"),
        sqlite_where=sa.text("state = 'ready'"),
    )
    op.create_index(
        "ix_computations_lapsed",
        "computations",
        ["lease_until"],
        postgresql_where=sa.text("state = 'leased'"),
        sqlite_where=sa.text("state = 'leased'"),
    )
    op.create_index("ix_computations_op_created_at", "computations", ["op", "created_at"])
    op.create_table(
        "datasets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.Text(), nullable=False),
        sa.Column("schema", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("labelled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_datasets"),
        sa.UniqueConstraint("name", "digest", name="uq_datasets_name_digest"),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("response", sa.JSON(none_as_null=True)),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "models",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_models"),
        sa.UniqueConstraint("name", "digest", name="uq_models_name_digest"),
        sa.UniqueConstraint("name", "version", name="uq_models_name_version"),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("queues", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("isa", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("threads", sa.Integer(), nullable=False),
        sa.Column("memory", sa.BigInteger(), nullable=False),
        sa.Column("environment", sa.Text(), nullable=False),
        sa.Column("versions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_index("ix_workers_seen_at", "workers", ["seen_at"])
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_digest", sa.Text(), nullable=False),
        sa.Column("dataset_id", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("dataset_digest", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.JSON(none_as_null=True)),
        sa.Column("error", sa.JSON(none_as_null=True)),
        sa.Column("dispatched_at", sa.Double()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double()),
        sa.Column("finished_at", sa.Double()),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_jobs_error")),
        sa.CheckConstraint("(state = 'succeeded') = (verdict IS NOT NULL)", name=op.f("ck_jobs_verdict")),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)", name=op.f("ck_jobs_finished")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'canceling', 'succeeded', 'failed', 'canceled')", name=op.f("ck_jobs_state")
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("ck_jobs_priority")),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_jobs_dataset_id"),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_jobs_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_model_id_id", "jobs", ["model_id", "id"])
    op.create_index("ix_jobs_state_id", "jobs", ["state", "id"])
    op.create_table(
        "events",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("step", sa.Text()),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_events_job_id"),
        sa.PrimaryKeyConstraint("job_id", "id", name="pk_events"),
    )
    op.create_table(
        "steps",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("op", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("optional", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("key", sa.Text()),
        sa.Column("hit", sa.Boolean(), nullable=False),
        sa.Column("why", sa.JSON(none_as_null=True)),
        sa.Column("error", sa.JSON(none_as_null=True)),
        sa.CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name=op.f("ck_steps_error")),
        sa.CheckConstraint("NOT hit OR state = 'done'", name=op.f("ck_steps_hit")),
        sa.CheckConstraint("state = 'canceled' OR (state = 'waiting') = (key IS NULL)", name=op.f("ck_steps_key")),
        sa.CheckConstraint(
            "state IN ('waiting', 'ready', 'leased', 'done', 'failed', 'canceled')", name=op.f("ck_steps_state")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_steps_job_id"),
        sa.ForeignKeyConstraint(["key"], ["computations.key"], name="fk_steps_key"),
        sa.PrimaryKeyConstraint("job_id", "name", name="pk_steps"),
    )
    op.create_index("ix_steps_key", "steps", ["key"])
