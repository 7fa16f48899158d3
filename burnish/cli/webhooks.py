"""`burnish webhooks …`: who is told of what happens."""

from __future__ import annotations

from typing import Any

import click

from burnish.cli.console import (
    client,
    console,
    cursor_option,
    guarded,
    json_option,
    limit_option,
    print_json,
    tell_more,
)
from burnish.cli.tables import plain_table
from burnish.resources import DeliveryResource, WebhookResource
from burnish.webhooks import EVENT_TYPES

__all__ = ["webhooks"]


@click.group()
def webhooks() -> None:
    """Addresses that are told of events by POST."""


@webhooks.command("list")
@limit_option
@cursor_option
@json_option
@guarded
def list_(limit: int, cursor: str | None, as_json: bool) -> None:
    """List webhooks, newest first."""
    with client() as burnish:
        page = burnish.webhooks.list(limit, cursor)
    if as_json:
        return print_json(page)
    table = plain_table()
    for title in ("webhook", "state", "url", "events"):
        table.add_column(title, overflow="fold", no_wrap=title == "webhook")
    for item in page.items:
        table.add_row(item.id, item.state, item.url, ", ".join(item.types) or "all")
    console.print(table if page.items else "No webhooks yet. Make one with `burnish webhooks create`.")
    tell_more(page.next)
    return None


@webhooks.command()
@click.argument("webhook")
@click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True, help="Deliveries.")
@json_option
@guarded
def show(webhook: str, limit: int, as_json: bool) -> None:
    """Show a webhook and its newest deliveries."""
    with client() as burnish:
        found = burnish.webhooks.get(webhook)
        if as_json:
            return print_json(found)
        page = burnish.webhooks.deliveries(webhook, limit)
    _tell(found)
    console.print()
    _tell_deliveries(page.items)
    return None


@webhooks.command()
@click.argument("url")
@click.option("--type", "types", multiple=True, type=click.Choice(EVENT_TYPES), help="Only these; may be repeated.")
@click.option("--description", default="")
@json_option
@guarded
def create(url: str, types: tuple[str, ...], description: str, as_json: bool) -> None:
    """Have events told to URL. The secret is printed once."""
    with client() as burnish:
        made = burnish.webhooks.create(url, types, description)
    if as_json:
        return print_json(made)
    _tell(made)
    return None


@webhooks.command()
@click.argument("webhook")
@json_option
@guarded
def rotate(webhook: str, as_json: bool) -> None:
    """Give a webhook a new secret; the old one holds for a day more."""
    with client() as burnish:
        found = burnish.webhooks.rotate(webhook)
    print_json(found) if as_json else _tell(found)


@webhooks.command()
@click.argument("webhook")
@json_option
@guarded
def pause(webhook: str, as_json: bool) -> None:
    """Send nothing to a webhook until it is resumed."""
    _switch(webhook, False, as_json)


@webhooks.command()
@click.argument("webhook")
@json_option
@guarded
def resume(webhook: str, as_json: bool) -> None:
    """Send to a webhook again."""
    _switch(webhook, True, as_json)


@webhooks.command()
@click.argument("webhook")
@click.option("--state", type=click.Choice(["pending", "delivered", "failed"]), help="Only deliveries in this state.")
@limit_option
@cursor_option
@json_option
@guarded
def deliveries(webhook: str, state: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """List what was sent to a webhook, or is to be."""
    with client() as burnish:
        page = burnish.webhooks.deliveries(webhook, limit, cursor, state)
    if as_json:
        return print_json(page)
    _tell_deliveries(page.items)
    tell_more(page.next)
    return None


@webhooks.command()
@click.argument("webhook")
@click.argument("delivery")
@json_option
@guarded
def redeliver(webhook: str, delivery: str, as_json: bool) -> None:
    """Send an event once more."""
    with client() as burnish:
        found = burnish.webhooks.redeliver(webhook, delivery)
    print_json(found) if as_json else _tell_deliveries([found])


@webhooks.command("rm")
@click.argument("webhook")
@guarded
def remove(webhook: str) -> None:
    """Delete a webhook with its deliveries."""
    with client() as burnish:
        burnish.webhooks.delete(webhook)
    console.print(f"{webhook} is deleted.")


def _switch(webhook: str, enabled: bool, as_json: bool) -> None:
    with client() as burnish:
        found = burnish.webhooks.change(webhook, enabled=enabled)
    print_json(found) if as_json else _tell(found)


def _tell(webhook: WebhookResource) -> None:
    why = f" {webhook.reason}" if webhook.reason else ""
    events = ", ".join(webhook.types) or "all events"
    console.print(f"{webhook.id} is {webhook.state}: {events} to {webhook.url}.{why}", soft_wrap=True, markup=False)
    if webhook.secret:
        console.print(f"  secret {webhook.secret}  (keep it: it is not told again)", soft_wrap=True, markup=False)


def _tell_deliveries(items: Any) -> None:
    table = plain_table()
    for title in ("delivery", "type", "state", "attempts", "last answer"):
        table.add_column(title, overflow="fold", no_wrap=title == "delivery")
    for item in items:
        table.add_row(item.id, item.type, item.state, str(len(item.attempts)), _answer(item))
    console.print(table if table.row_count else "Nothing was to be told yet.")


def _answer(delivery: DeliveryResource) -> str:
    if not delivery.attempts:
        return ""
    last = delivery.attempts[-1]
    return str(last.status) if last.status is not None else str(last.error)
