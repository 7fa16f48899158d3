"""What is to be told to webhooks: written in the transaction that makes it so, sent later by a tick.

So nothing is told that did not happen, and nothing that happened is left untold, whoever dies in between.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from burnish.webhooks import EventType
from storage.database import Transaction
from storage.ids import new_id
from storage.tables import deliveries, webhooks

__all__ = ["publish"]


def publish(tx: Transaction, type: EventType, data: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> int:
    """Puts an event into the outbox of every enabled webhook that wants its type; how many these are.

    `data` may be a function: then it is called only if somebody wants to know.
    """
    wanted = select(webhooks.c.id, webhooks.c.types).where(webhooks.c.state == "enabled").order_by(webhooks.c.id)
    listeners = [row.id for row in tx.execute(wanted) if not row.types or type in row.types]
    if not listeners:
        return 0
    event = new_id("evt")
    at = datetime.fromtimestamp(tx.now, UTC).isoformat().replace("+00:00", "Z")
    told = dict(data() if callable(data) else data)
    payload = json.dumps(
        {"type": type, "timestamp": at, "data": told},
        ensure_ascii=False,
        allow_nan=False,
    )
    fixed = {"event_id": event, "type": type, "payload": payload, "state": "pending", "attempt": 0, "log": []}
    for webhook_id in listeners:
        row = {"id": new_id("dlv"), "webhook_id": webhook_id, "next_at": tx.now, "created_at": tx.now, **fixed}
        tx.execute(deliveries.insert().values(**row, redelivery=False))
    return len(listeners)
