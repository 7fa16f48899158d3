"""The documents of webhooks: who is told of what, and what came of telling."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from burnish.document import Document

__all__ = [
    "EVENT_TYPES",
    "AttemptResource",
    "DeliveryResource",
    "EventType",
    "WebhookChange",
    "WebhookResource",
    "WebhookSpec",
]

EventType = Literal[
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "champion.promoted",
    "champion.kept",
    "champion.drifted",
    "alias.changed",
    "schedule.skipped",
    "webhook.disabled",
]
EVENT_TYPES: tuple[EventType, ...] = EventType.__args__  # type: ignore[attr-defined]
"""Every type of event that a webhook can be told of."""
_URL_LENGTH = 2000


class WebhookSpec(Document):
    """An address to be told of events by POST."""

    url: str = Field(min_length=1, max_length=_URL_LENGTH)
    """`https://…`; `http` and private addresses only where BURNISH_WEBHOOK_ALLOW_PRIVATE is on."""
    types: tuple[EventType, ...] = Field((), max_length=20)
    """Only these types of events; empty: all."""
    description: str = Field("", max_length=500)


class WebhookChange(Document):
    """What can be changed of a webhook; what is left out stays."""

    url: str | None = Field(None, min_length=1, max_length=_URL_LENGTH)
    types: tuple[EventType, ...] | None = Field(None, max_length=20)
    description: str | None = Field(None, max_length=500)
    enabled: bool | None = None
    """False: nothing is sent to it until it is true again; what happens meanwhile is not sent later."""


class WebhookResource(Document):
    """An address that is told of events."""

    id: str
    url: str
    types: tuple[EventType, ...]
    description: str
    state: Literal["enabled", "disabled"]
    reason: str | None
    """Why it is disabled, in words."""
    secret: str | None = None
    """`whsec_…`: signs what is sent. Told once, by the answers that make it and that rotate it."""
    old_secret_until: datetime | None
    """Until then what is sent carries a second signature, by the secret before."""
    failing_since: datetime | None
    """Since when no delivery has succeeded; `None` if the last one did."""
    created_at: datetime
    links: dict[str, str]


class AttemptResource(Document):
    """One attempt at a delivery."""

    at: datetime
    status: int | None
    """HTTP status that was answered."""
    error: str | None
    """Why there was no answer."""
    seconds: float
    body: str = ""
    """The beginning of the answer."""


class DeliveryResource(Document):
    """One event on its way to one webhook."""

    id: str
    event: str
    """Id of the event, the header `webhook-id`: the same for every attempt and redelivery."""
    type: EventType
    state: Literal["pending", "delivered", "failed"]
    payload: dict[str, Any]
    """The body that is sent."""
    created_at: datetime
    next_at: datetime | None
    """When it is tried next, while it is pending."""
    attempts: tuple[AttemptResource, ...]
    """The oldest first."""
    redelivery: bool
    """Asked for by `redeliver`."""
    links: dict[str, str]
