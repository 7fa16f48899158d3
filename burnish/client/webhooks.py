"""The client's calls about webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from burnish.client.transport import Transport
from burnish.resources import DeliveryResource, Page, WebhookResource

__all__ = ["WebhookCalls"]


class WebhookCalls:
    """`client.webhooks`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, limit: int = 50, cursor: str | None = None) -> Page[WebhookResource]:
        """Webhooks, newest first."""
        response = self._transport.get("/v1/webhooks", {"limit": limit, "cursor": cursor})
        return Page[WebhookResource].model_validate_json(response.content)

    def get(self, id: str) -> WebhookResource:
        """One webhook."""
        return WebhookResource.model_validate_json(self._transport.get(f"/v1/webhooks/{id}").content)

    def create(self, url: str, types: Sequence[str] = (), description: str = "") -> WebhookResource:
        """Has events told to an address. Keep the `secret` of the answer: it is told once.

        Args:
            types: only these types of events; none: all.

        Raises:
            burnish.errors.InvalidSpec: with every fault and its path.
        """
        document = {"url": url, "types": list(types), "description": description}
        return WebhookResource.model_validate_json(self._transport.post("/v1/webhooks", document).content)

    def change(self, id: str, **members: Any) -> WebhookResource:
        """Gives a webhook another `url`, `types` or `description`, or switches it by `enabled`."""
        return WebhookResource.model_validate_json(self._transport.patch(f"/v1/webhooks/{id}", members).content)

    def rotate(self, id: str) -> WebhookResource:
        """A new secret, in the answer; for a day what is sent is signed by the old one too."""
        return WebhookResource.model_validate_json(self._transport.post(f"/v1/webhooks/{id}/rotate").content)

    def delete(self, id: str) -> None:
        """Deletes it with its deliveries."""
        self._transport.delete(f"/v1/webhooks/{id}")

    def deliveries(
        self, id: str, limit: int = 50, cursor: str | None = None, state: str | None = None
    ) -> Page[DeliveryResource]:
        """What was sent to it, or is to be, newest first."""
        query = {"limit": limit, "cursor": cursor, "state": state}
        response = self._transport.get(f"/v1/webhooks/{id}/deliveries", query)
        return Page[DeliveryResource].model_validate_json(response.content)

    def redeliver(self, id: str, delivery: str) -> DeliveryResource:
        """Sends the same event once more, under the same event id."""
        response = self._transport.post(f"/v1/webhooks/{id}/deliveries/{delivery}/redeliver")
        return DeliveryResource.model_validate_json(response.content)
