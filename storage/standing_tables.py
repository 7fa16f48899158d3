"""The tables of what goes on between jobs: schedules, aliases, webhooks. `storage/tables.py` has the rest."""

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
)

from storage.metadata import Json, metadata, one_of, only

__all__ = ["alias_entries", "aliases", "deliveries", "firings", "schedules", "webhooks"]

schedules = Table(
    "schedules",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("spec", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("occasion", Text),  # set if its trigger is an event
    Column("seen", Json),  # what that occasion looked like when it was last looked at
    Column("anchor", Double, nullable=False),  # when the trigger was set: intervals count from it
    Column("next_at", Double),  # when it is due, if its trigger is a time and it is active
    Column("revision", BigInteger, nullable=False),
    Column("last_job_id", Text, ForeignKey("jobs.id")),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("name"),
    one_of("state", "active", "paused"),
    CheckConstraint("next_at IS NULL OR state = 'active' AND occasion IS NULL", name="next_at"),
    Index("ix_schedules_due", "next_at", **only("next_at IS NOT NULL")),
    Index("ix_schedules_occasion", "occasion", **only("occasion IS NOT NULL")),
)

firings = Table(
    "firings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("schedule_id", Text, ForeignKey("schedules.id"), nullable=False),
    Column("at", Double, nullable=False),
    Column("due_at", Double),
    Column("cause", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id")),
    Column("contest", Json),  # what the job's result is held against
    Column("decision", Json),  # what came of that
    UniqueConstraint("job_id"),
    one_of("outcome", "fired", "waiting", "skipped"),
    CheckConstraint("(outcome = 'fired') = (job_id IS NOT NULL)", name="job"),
    CheckConstraint("decision IS NULL OR contest IS NOT NULL", name="decision"),
    Index(None, "schedule_id", "id"),
    Index("ix_firings_waiting", "schedule_id", unique=True, **only("outcome = 'waiting'")),
)

alias_entries = Table(
    "alias_entries",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("artifact", Json, nullable=False),
    Column("digest", Text, nullable=False),
    Column("candidate", Text, nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("model_id", Text, ForeignKey("models.id"), nullable=False),
    Column("model_version", Text, nullable=False),
    Column("previous_id", Text, ForeignKey("alias_entries.id")),  # what a rollback brings back
    Column("kept", Boolean, nullable=False),  # the blob stays in the store
    Column("at", Double, nullable=False),
    UniqueConstraint("model", "alias", "revision"),
    one_of("action", "set", "promoted", "rolled_back"),
    Index(None, "digest"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("entry_id", Text, ForeignKey("alias_entries.id"), nullable=False),
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("types", Json, nullable=False),
    Column("description", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("old_secret", Text),
    Column("old_secret_until", Double),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("failing_since", Double),
    Column("created_at", Double, nullable=False),
    one_of("state", "enabled", "disabled"),
    CheckConstraint("(state = 'disabled') = (reason IS NOT NULL)", name="reason"),
    CheckConstraint("(old_secret IS NULL) = (old_secret_until IS NULL)", name="old_secret"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True),
    # No foreign key: an event is told in the transaction that made it, and that must not fail since a webhook went.
    Column("webhook_id", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("next_at", Double, nullable=False),  # of one that is being sent: when it is taken for lost
    Column("log", Json, nullable=False),
    Column("redelivery", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    one_of("state", "pending", "delivered", "failed"),
    Index(None, "webhook_id", "id"),
    Index(None, "created_at"),
    Index("ix_deliveries_due", "next_at", **only("state = 'pending'")),
)
