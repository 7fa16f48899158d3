"""Webhooks: who is told. What they are told is in `storage/deliveries.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update

from burnish.errors import NotFound
from storage import outbox
from storage.database import Transaction
from storage.ids import new_id
from storage.records import from_row
from storage.tables import deliveries, webhooks
from storage.webhook_secrets import new_secret

__all__ = ["OLD_SECRET_SECONDS", "Webhook", "change", "create", "disable", "get", "list_", "lock", "remove", "rotate"]

OLD_SECRET_SECONDS = 86400.0
"""How long what is sent is signed by the secret before, too."""
_OFF = "It was switched off by hand."


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An address that is told of events."""

    id: str
    url: str
    types: list[str]
    """Only these types of events; empty: all."""
    description: str
    secret: str
    old_secret: str | None
    old_secret_until: float | None
    state: str
    """`enabled` or `disabled`."""
    reason: str | None
    """Set exactly when it is disabled."""
    failing_since: float | None
    """When the first of the attempts was that have failed since the last that did not."""
    created_at: float

    def secrets(self, now: float) -> list[str]:
        """Those that sign what is sent at that time."""
        old = self.old_secret if self.old_secret_until is not None and now < self.old_secret_until else None
        return [self.secret, *([old] if old else [])]


def create(tx: Transaction, *, url: str, types: Sequence[str], description: str) -> Webhook:
    """A new one with a fresh secret, told of what happens from now on."""
    webhook_id = new_id("whk")
    given = {"url": url, "types": list(dict.fromkeys(types)), "description": description}
    made = {"id": webhook_id, "secret": new_secret(), "state": "enabled", "created_at": tx.now}
    tx.execute(webhooks.insert().values(**made, **given))
    return get(tx, webhook_id)


def get(tx: Transaction, webhook_id: str) -> Webhook:
    """The webhook with that id. Raises `NotFound`."""
    return _one(tx, webhook_id, locked=False)


def lock(tx: Transaction, webhook_id: str) -> Webhook:
    """The same, held until the end of the transaction: before any of its deliveries. Raises `NotFound`."""
    return _one(tx, webhook_id, locked=True)


def list_(tx: Transaction, *, after: str | None, limit: int) -> list[Webhook]:
    """Webhooks, newest first, older than the webhook `after`."""
    page = select(webhooks).order_by(webhooks.c.id.desc()).limit(limit)
    if after is not None:
        page = page.where(webhooks.c.id < after)
    return [from_row(Webhook, row) for row in tx.execute(page)]


def change(
    tx: Transaction,
    webhook_id: str,
    *,
    url: str | None = None,
    types: Sequence[str] | None = None,
    description: str | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Changes what is given. Switched on again, it has a clean slate. Raises `NotFound`."""
    found = lock(tx, webhook_id)
    values: dict[str, Any] = {"url": url, "description": description}
    values["types"] = None if types is None else list(dict.fromkeys(types))
    values = {name: value for name, value in values.items() if value is not None}
    if enabled is False and found.state == "enabled":
        values |= {"state": "disabled", "reason": _OFF}
    if enabled is True and found.state == "disabled":
        values |= {"state": "enabled", "reason": None, "failing_since": None}
    return _write(tx, webhook_id, values) if values else found


def rotate(tx: Transaction, webhook_id: str) -> Webhook:
    """A fresh secret; for a day the old one signs too. Raises `NotFound`."""
    found = lock(tx, webhook_id)
    old = {"old_secret": found.secret, "old_secret_until": tx.now + OLD_SECRET_SECONDS}
    return _write(tx, webhook_id, {"secret": new_secret(), **old})


def disable(tx: Transaction, webhook: Webhook, reason: str) -> None:
    """Switches off one that does not answer, and tells the others. The caller holds its row."""
    _write(tx, webhook.id, {"state": "disabled", "reason": reason})
    outbox.publish(tx, "webhook.disabled", {"webhook": webhook.id, "url": webhook.url, "reason": reason})


def remove(tx: Transaction, webhook_id: str) -> None:
    """Deletes it with its deliveries. Raises `NotFound`."""
    lock(tx, webhook_id)
    tx.execute(delete(deliveries).where(deliveries.c.webhook_id == webhook_id))
    tx.execute(delete(webhooks).where(webhooks.c.id == webhook_id))


def _write(tx: Transaction, webhook_id: str, values: dict[str, Any]) -> Webhook:
    tx.execute(update(webhooks).where(webhooks.c.id == webhook_id).values(**values))
    return get(tx, webhook_id)


def _one(tx: Transaction, webhook_id: str, *, locked: bool) -> Webhook:
    wanted = select(webhooks).where(webhooks.c.id == webhook_id)
    row = tx.execute(wanted.with_for_update() if locked else wanted).first()
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id}.", cure="List the webhooks to see those that exist.")
    return from_row(Webhook, row)
