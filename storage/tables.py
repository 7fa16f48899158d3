"""The tables. `storage/migrations/` creates the same, and a test compares the two.

Times are seconds since 1970 (UTC) from the database's clock. CHECK constraints hold what must be true of a row in a
state; which state may follow which is in `storage/computations.py` and `storage/jobs.py`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from storage.metadata import Json, metadata, one_of, only
from storage.standing_tables import alias_entries, aliases, deliveries, firings, schedules, webhooks

__all__ = [
    "alias_entries",
    "aliases",
    "blobs",
    "checkpoints",
    "chores",
    "computations",
    "counters",
    "datasets",
    "deliveries",
    "events",
    "firings",
    "holds",
    "idempotency",
    "jobs",
    "metadata",
    "models",
    "products",
    "schedules",
    "steps",
    "upload_parts",
    "uploads",
    "webhooks",
    "workers",
]


def _states(*names: str) -> CheckConstraint:
    return one_of("state", *names)


models = Table(
    "models",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("signature", Json, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("pinned_at", Double),
    UniqueConstraint("name", "version"),
    UniqueConstraint("name", "digest"),
    Index(None, "digest"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("format", Text, nullable=False),
    Column("schema", Json, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("labelled", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("name", "digest"),
    Index(None, "digest"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("spec", Json, nullable=False),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    Column("model", Text, nullable=False),
    Column("model_digest", Text, nullable=False),
    Column("dataset_id", Text, ForeignKey("datasets.id"), nullable=False),
    Column("dataset", Text, nullable=False),
    Column("dataset_digest", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("verdict", Json),
    Column("error", Json),
    Column("dispatched_at", Double),
    Column("traceparent", Text),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("outcome", Text),  # of the verdict, which is too long to look through
    _states("queued", "running", "canceling", "succeeded", "failed", "canceled"),
    CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
    CheckConstraint("(state = 'succeeded') = (verdict IS NOT NULL)", name="verdict"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    CheckConstraint("(state IN ('succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)", name="finished"),
    Index(None, "state", "id"),
    Index(None, "model_id", "id"),
    Index(None, "outcome", "id"),
)

computations = Table(
    "computations",
    metadata,
    Column("key", Text, primary_key=True),
    Column("op", Text, nullable=False),
    Column("spec", Json, nullable=False),
    Column("inputs", Json, nullable=False),
    Column("key_parts", Json, nullable=False),
    Column("queue", Text, nullable=False),
    Column("environment", Text),  # never written: kept for workers of earlier versions, which read it
    Column("alone", Boolean, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("turn", Double, nullable=False, server_default=text("0")),  # see storage/turns.py
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", Double),
    Column("seen_at", Double),
    Column("run_after", Double, nullable=False),
    Column("dispatched_at", Double),
    Column("cancel", Boolean, nullable=False),
    Column("progress", Double, nullable=False),
    Column("doing", Text),
    Column("outputs", Json),
    Column("report", Json),
    Column("error", Json),
    Column("reasons", Json, nullable=False),
    Column("seconds", Double),
    Column("peak_memory", BigInteger),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    _states("ready", "leased", "done", "failed", "canceled"),
    CheckConstraint("(state = 'leased') = (lease_until IS NOT NULL)", name="lease"),
    CheckConstraint("state <> 'leased' OR worker IS NOT NULL", name="worker"),
    CheckConstraint("state = 'leased' OR NOT cancel", name="cancel"),
    CheckConstraint("(state = 'done') = (outputs IS NOT NULL)", name="outputs"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    CheckConstraint("failures BETWEEN 0 AND max_attempts AND failures <= attempt", name="failures"),
    CheckConstraint("state NOT IN ('ready', 'leased') OR failures < max_attempts", name="attempts_left"),
    Index("ix_computations_due", "turn", **only("state = 'ready'")),
    Index("ix_computations_lapsed", "lease_until", **only("state = 'leased'")),
    Index(None, "op", "created_at"),
)

steps = Table(
    "steps",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("op", Text, nullable=False),
    Column("spec", Json, nullable=False),
    Column("queue", Text, nullable=False),
    Column("optional", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("key", Text, ForeignKey("computations.key"), index=True),
    Column("hit", Boolean, nullable=False),
    Column("why", Json),
    Column("error", Json),
    _states("waiting", "ready", "leased", "done", "failed", "canceled"),
    CheckConstraint("state = 'canceled' OR (state = 'waiting') = (key IS NULL)", name="key"),
    CheckConstraint("(state = 'failed') = (error IS NOT NULL)", name="error"),
    CheckConstraint("NOT hit OR state = 'done'", name="hit"),
)

events = Table(
    "events",
    metadata,
    Column("job_id", Text, ForeignKey("jobs.id"), primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("step", Text),
    Column("data", Json, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("queues", Json, nullable=False),
    Column("device", Text, nullable=False),
    Column("isa", Json, nullable=False),
    Column("threads", Integer, nullable=False),
    Column("memory", BigInteger, nullable=False),
    Column("environment", Text, nullable=False),
    Column("versions", Json, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False, index=True),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_hash", Text, nullable=False),
    Column("response", Json),
    Column("created_at", Double, nullable=False, index=True),
)

blobs = Table(
    "blobs",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False, index=True),
    Column("doomed_at", Double),  # evicted: to be removed without waiting for its age
    Index("ix_blobs_doomed", "doomed_at", **only("doomed_at IS NOT NULL")),
)

holds = Table(
    "holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, index=True),
    Column("until", Double, nullable=False, index=True),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("key", Text, ForeignKey("computations.key"), primary_key=True),
    Column("digest", Text, nullable=False),
    Column("hold_id", Text, nullable=False),
    Column("made_at", Double, nullable=False, index=True),
)

products = Table(
    "products",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("key", Text, ForeignKey("computations.key"), primary_key=True, index=True),
)

chores = Table(
    "chores",
    metadata,
    Column("name", Text, primary_key=True),
    Column("next_at", Double, nullable=False),
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("labels", Text, primary_key=True),  # label values as a JSON list
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("value", Double, nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("part_size", BigInteger, nullable=False),
    Column("sha256", Text),
    Column("resource_id", Text),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False, index=True),
    CheckConstraint("kind IN ('model', 'dataset')", name="kind"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("upload_id", Text, ForeignKey("uploads.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("hold_id", Text, nullable=False),
)
