"""Webhooks: who is told of what happens, and what came of telling."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from apiflask import APIBlueprint
from flask import Response, request
from pydantic import ValidationError

from api.bodies import json_of
from api.idempotency import body_hash, remember, replayed
from api.paging import PageQuery, page
from api.replies import moment, reply
from api.services import services
from burnish.document import Document
from burnish.errors import Fault, InvalidSpec
from burnish.recipe import faults_of
from burnish.resources import (
    DeliveryResource,
    Page,
    WebhookChange,
    WebhookResource,
    WebhookSpec,
)
from storage import deliveries, webhooks
from storage.deliveries import Delivery
from storage.webhook_urls import url_faults
from storage.webhooks import Webhook

__all__ = ["blueprint"]

blueprint = APIBlueprint("webhooks", __name__, url_prefix="/v1")

DocumentT = TypeVar("DocumentT", bound=Document)


class DeliveriesQuery(PageQuery):
    """Query of the list of deliveries."""

    state: Literal["pending", "delivered", "failed"] | None = None
    """Only deliveries in this state."""


@blueprint.post("/webhooks")
@blueprint.output(WebhookResource, 201)
@blueprint.doc(
    responses={400: "Not JSON.", 409: "The key was used before.", 415: "Not sent as JSON.",
               422: "An address that must not be told, or another fault; each with its path."},
    extensions={"x-body": {"application/json": "WebhookSpec"}},
)  # fmt: skip
def create_webhook() -> Response:
    """Have events told to an address

    Keep the `secret` of the answer, which signs what is sent: it is told once.
    """
    document, raw = json_of(request)
    spec = _checked(WebhookSpec, document)
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(raw))
        if again:
            return again
        made = webhooks.create(tx, url=spec.url, types=spec.types, description=spec.description)
        shown = _shown(made, secret=True)
        return remember(tx, reply(shown, 201, headers={"Location": shown.links["self"]}))


@blueprint.get("/webhooks")
@blueprint.input(PageQuery, location="query")
@blueprint.output(Page[WebhookResource])
def list_webhooks(query_data: PageQuery) -> Response:
    """List webhooks, newest first"""
    with services().database.read() as tx:
        return reply(
            page(lambda limit: webhooks.list_(tx, after=query_data.cursor, limit=limit), _shown, query_data.limit)
        )


@blueprint.get("/webhooks/<id>")
@blueprint.output(WebhookResource)
@blueprint.doc(responses={404: "No such webhook."})
def get_webhook(id: str) -> Response:
    """Get one webhook"""
    with services().database.read() as tx:
        return reply(_shown(webhooks.get(tx, id)))


@blueprint.patch("/webhooks/<id>")
@blueprint.output(WebhookResource)
@blueprint.doc(
    responses={400: "Not JSON.", 404: "No such webhook.", 415: "Not sent as JSON.",
               422: "An address that must not be told, or another fault; each with its path."},
    extensions={"x-body": {"application/json": "WebhookChange"}},
)  # fmt: skip
def change_webhook(id: str) -> Response:
    """Change a webhook, or switch it off and on

    One that was disabled since it did not answer is switched on again by `enabled: true`.
    """
    document, _ = json_of(request)
    change = _checked(WebhookChange, document)
    with services().database.begin() as tx:
        return reply(_shown(webhooks.change(tx, id, **change.model_dump())))


@blueprint.delete("/webhooks/<id>")
@blueprint.doc(responses={204: "It is gone.", 404: "No such webhook."})
def delete_webhook(id: str) -> Response:
    """Delete a webhook with its deliveries"""
    with services().database.begin() as tx:
        webhooks.remove(tx, id)
    return Response(status=204)


@blueprint.post("/webhooks/<id>/rotate")
@blueprint.output(WebhookResource)
@blueprint.doc(responses={404: "No such webhook."})
def rotate_webhook(id: str) -> Response:
    """Give a webhook a new secret

    It is told once, in the answer. For a day what is sent is signed by the old one too.
    """
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(id))
        return again or remember(tx, reply(_shown(webhooks.rotate(tx, id), secret=True)))


@blueprint.get("/webhooks/<id>/deliveries")
@blueprint.input(DeliveriesQuery, location="query")
@blueprint.output(Page[DeliveryResource])
@blueprint.doc(responses={404: "No such webhook."})
def list_deliveries(id: str, query_data: DeliveriesQuery) -> Response:
    """List what was sent to a webhook, or is to be, newest first

    With the answer to each attempt. Deliveries that have ended are kept for 30 days.
    """
    with services().database.read() as tx:
        webhooks.get(tx, id)
        return reply(
            page(
                lambda limit: deliveries.list_(tx, id, after=query_data.cursor, limit=limit, state=query_data.state),
                _delivery,
                query_data.limit,
            )
        )


@blueprint.get("/webhooks/<id>/deliveries/<delivery>")
@blueprint.output(DeliveryResource)
@blueprint.doc(responses={404: "No such webhook or delivery."})
def get_delivery(id: str, delivery: str) -> Response:
    """Get one delivery"""
    with services().database.read() as tx:
        return reply(_delivery(deliveries.get(tx, id, delivery)))


@blueprint.post("/webhooks/<id>/deliveries/<delivery>/redeliver")
@blueprint.output(DeliveryResource, 202)
@blueprint.doc(
    responses={404: "No such webhook or delivery.", 409: "The webhook is disabled, or the delivery is pending."}
)
def redeliver(id: str, delivery: str) -> Response:
    """Send an event once more

    A new delivery of the same event: `webhook-id` is the same, so that a receiver can tell that it knows it.
    """
    with services().database.begin() as tx:
        again = replayed(tx, body_hash(id, delivery))
        return again or remember(tx, reply(_delivery(deliveries.redeliver(tx, id, delivery)), 202))


def _checked(kind: type[DocumentT], document: Mapping[str, Any]) -> DocumentT:
    """Raises `InvalidSpec` with every fault and its path."""
    faults: list[Fault] = []
    url = document.get("url")
    if isinstance(url, str) and 1 <= len(url) <= 2000:
        faults += url_faults(url, allow_private=services().settings.webhook_allow_private == "on")
    try:
        checked = kind.model_validate(document)
    except ValidationError as error:
        raise InvalidSpec(faults + faults_of(error)) from error
    if faults:
        raise InvalidSpec(faults)
    return checked


def _shown(webhook: Webhook, *, secret: bool = False) -> WebhookResource:
    address = f"/v1/webhooks/{webhook.id}"
    old = webhook.old_secret_until
    return WebhookResource.model_validate(
        {
            "id": webhook.id,
            "url": webhook.url,
            "types": webhook.types,
            "description": webhook.description,
            "state": webhook.state,
            "reason": webhook.reason,
            "secret": webhook.secret if secret else None,
            "old_secret_until": moment(old) if old is not None else None,
            "failing_since": moment(webhook.failing_since) if webhook.failing_since is not None else None,
            "created_at": moment(webhook.created_at),
            "links": {"self": address, "deliveries": f"{address}/deliveries", "rotate": f"{address}/rotate"},
        }
    )


def _delivery(delivery: Delivery) -> DeliveryResource:
    address = f"/v1/webhooks/{delivery.webhook_id}/deliveries/{delivery.id}"
    return DeliveryResource.model_validate(
        {
            "id": delivery.id,
            "event": delivery.event_id,
            "type": delivery.type,
            "state": delivery.state,
            "payload": json.loads(delivery.payload),
            "created_at": moment(delivery.created_at),
            "next_at": moment(delivery.next_at) if delivery.state == "pending" else None,
            "attempts": [{**each, "at": moment(each["at"])} for each in delivery.log],
            "redelivery": delivery.redelivery,
            "links": {"self": address, "redeliver": f"{address}/redeliver"},
        }
    )
