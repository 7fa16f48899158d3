"""Deliveries: events on their way to webhooks. Written by `storage/outbox.py`, sent by ticks.

| from | to | by | when |
| --- | --- | --- | --- |
| (none) | `pending` | `outbox.publish`, `redeliver` | |
| `pending` | `pending` | `claim` | due; taken by compare-and-set on the attempt, for `LEASE` seconds |
| `pending` | `delivered` | `finish` | the receiver said so |
| `pending` | `pending` | `finish` | it did not, and there are attempts left: due again after a while |
| `pending` | `failed` | `finish` | that was the last attempt, or the receiver is gone (410) |

A sender that dies leaves its delivery to be claimed again when the lease is over: at least once, never lost. Receivers
tell repeats by the event's id. Of one webhook one delivery is on its way at a time, and a slow one delays no other.

Order of locks: webhooks, then deliveries.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, select, update

from burnish.errors import Conflict, NotFound
from storage import webhooks
from storage.database import Transaction
from storage.ids import new_id
from storage.records import from_row
from storage.tables import deliveries
from storage.tables import webhooks as hooks
from storage.webhooks import Webhook

__all__ = [
    "LEASE",
    "PAUSES",
    "Answer",
    "Delivery",
    "Sending",
    "claim",
    "due",
    "finish",
    "get",
    "list_",
    "prune",
    "redeliver",
]

LEASE = 90.0
"""Longer than an attempt can take."""
PAUSES = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Seconds after each failed attempt, as Standard Webhooks advises: ten attempts over more than three days."""
_JITTER = 0.2
_LONGEST_PAUSE = 86_400.0
_GONE = 410
_COLUMN = deliveries.c


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook."""

    id: str
    webhook_id: str
    event_id: str
    """The same for all webhooks, attempts and redeliveries."""
    type: str
    payload: str
    """The body, byte for byte what is signed."""
    state: str
    attempt: int
    """Grows with every claim: whoever ends the attempt carries it."""
    next_at: float
    """When it is due; of one that is being sent, when it is taken for lost."""
    log: list[dict[str, Any]]
    """One entry per ended attempt."""
    redelivery: bool
    created_at: float


@dataclass(frozen=True)
class Sending:
    """A delivery that was claimed."""

    delivery: Delivery
    webhook: Webhook
    at: float
    """Seconds since 1970 by the database's clock."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of an attempt."""

    status: int | None
    """HTTP status; `None` if there was none."""
    error: str | None
    """Why the attempt failed."""
    seconds: float
    body: str = ""
    retry_after: float | None = None
    """What the receiver asked for."""

    @property
    def good(self) -> bool:
        """True if the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


def get(tx: Transaction, webhook_id: str, delivery_id: str) -> Delivery:
    """The delivery of that webhook. Raises `NotFound`."""
    row = tx.execute(select(deliveries).where(_COLUMN.id == delivery_id, _COLUMN.webhook_id == webhook_id)).first()
    if row is None:
        raise NotFound(
            f"The webhook {webhook_id} has no delivery {delivery_id}.", cure="List its deliveries; old ones are gone."
        )
    return from_row(Delivery, row)


def list_(
    tx: Transaction, webhook_id: str, *, after: str | None, limit: int, state: str | None = None
) -> list[Delivery]:
    """Deliveries of a webhook, newest first, older than the delivery `after`."""
    page = select(deliveries).where(_COLUMN.webhook_id == webhook_id).order_by(_COLUMN.id.desc()).limit(limit)
    if after is not None:
        page = page.where(_COLUMN.id < after)
    if state is not None:
        page = page.where(_COLUMN.state == state)
    return [from_row(Delivery, row) for row in tx.execute(page)]


def due(tx: Transaction, besides: Collection[str] = ()) -> list[str]:
    """Enabled webhooks with something to be told, other than these; who waits longest first."""
    first = func.min(_COLUMN.next_at)
    found = (
        select(_COLUMN.webhook_id)
        .join(hooks, hooks.c.id == _COLUMN.webhook_id)
        .where(_COLUMN.state == "pending", _COLUMN.next_at <= tx.now, hooks.c.state == "enabled")
        .group_by(_COLUMN.webhook_id)
        .order_by(first)
    )
    return [webhook_id for webhook_id in tx.execute(found).scalars() if webhook_id not in besides]


def claim(tx: Transaction, webhook_id: str) -> Sending | None:
    """Takes the delivery of a webhook that is due the longest; `None` if another sender has it, or there is none."""
    waiting = and_(_COLUMN.webhook_id == webhook_id, _COLUMN.state == "pending", _COLUMN.next_at <= tx.now)
    row = tx.execute(select(deliveries).where(waiting).order_by(_COLUMN.next_at, _COLUMN.id).limit(1)).first()
    if row is None:
        return None
    found = from_row(Delivery, row)
    this = (_COLUMN.id == found.id, _COLUMN.attempt == found.attempt, _COLUMN.state == "pending")
    taken = update(deliveries).where(*this).values(attempt=found.attempt + 1, next_at=tx.now + LEASE)
    if tx.execute(taken).rowcount != 1:
        return None
    return Sending(get(tx, webhook_id, found.id), webhooks.get(tx, webhook_id), tx.now)


def finish(tx: Transaction, sending: Sending, answer: Answer) -> bool:
    """Ends an attempt. False if the attempt was taken for lost meanwhile, or the webhook is deleted: nothing changes.

    A webhook is disabled if it is gone, or if a delivery failed for the last time and no other succeeded since its
    first attempt.
    """
    delivery = sending.delivery
    try:
        webhook = webhooks.lock(tx, delivery.webhook_id)
    except NotFound:
        return False
    last = not answer.good and (delivery.attempt > len(PAUSES) or answer.status == _GONE)
    entry = {"at": sending.at, "status": answer.status, "error": answer.error, "seconds": answer.seconds}
    values: dict[str, Any] = {"log": [*delivery.log, {**entry, "body": answer.body}]}
    values["state"] = "delivered" if answer.good else "failed" if last else "pending"
    if values["state"] == "pending":
        values["next_at"] = tx.now + _pause(delivery.attempt, answer)
    this = (_COLUMN.id == delivery.id, _COLUMN.attempt == delivery.attempt, _COLUMN.state == "pending")
    if tx.execute(update(deliveries).where(*this).values(**values)).rowcount != 1:
        return False
    if values["state"] == "pending":
        tx.count("delivery_retries")
    else:
        tx.count("deliveries", values["state"])
    since = None if answer.good else webhook.failing_since or sending.at
    if since != webhook.failing_since:
        tx.execute(update(hooks).where(hooks.c.id == webhook.id).values(failing_since=since))
    if last and webhook.state == "enabled":
        if answer.status == _GONE:
            webhooks.disable(tx, webhook, "The receiver answered 410: it is gone for good.")
        elif since is not None and since <= values["log"][0]["at"]:
            count = f"{delivery.attempt} attempts at one event have failed, and nothing else succeeded meanwhile."
            webhooks.disable(tx, webhook, f"{count} The last: {answer.error}")
    return True


def redeliver(tx: Transaction, webhook_id: str, delivery_id: str) -> Delivery:
    """The same event once more, due at once.

    Raises:
        NotFound: no such webhook or delivery.
        Conflict: the webhook is disabled, or the delivery is pending anyway.
    """
    webhook = webhooks.lock(tx, webhook_id)
    found = get(tx, webhook_id, delivery_id)
    if webhook.state == "disabled":
        raise Conflict(f"The webhook {webhook_id} is disabled.", cure="Enable it first.")
    if found.state == "pending":
        raise Conflict(f"The delivery {delivery_id} is still pending.", cure="Wait for its next attempt.")
    same = {"event_id": found.event_id, "type": found.type, "payload": found.payload, "webhook_id": webhook_id}
    fresh = {"state": "pending", "attempt": 0, "next_at": tx.now, "log": [], "redelivery": True, "created_at": tx.now}
    new = new_id("dlv")
    tx.execute(deliveries.insert().values(id=new, **same, **fresh))
    return get(tx, webhook_id, new)


def prune(tx: Transaction, before: float) -> int:
    """Removes ended deliveries that were made before `before`, and those of webhooks that are gone; how many."""
    old = and_(_COLUMN.created_at < before, _COLUMN.state != "pending")
    gone = _COLUMN.webhook_id.not_in(select(hooks.c.id))
    return int(tx.execute(delete(deliveries).where(old | gone)).rowcount)


def _pause(attempt: int, answer: Answer) -> float:
    """Seconds until the next attempt: more and more, spread out, and not before the receiver asked for it."""
    planned = PAUSES[attempt - 1] * random.uniform(1.0, 1.0 + _JITTER)
    return min(max(planned, answer.retry_after or 0.0), _LONGEST_PAUSE * (1.0 + _JITTER))
