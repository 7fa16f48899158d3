"""`burnish schedules …`: jobs that are submitted again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.text import Text

from burnish.cli.completion import dataset_names, model_names
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
from burnish.cli.documents import read_document
from burnish.cli.tables import plain_table
from burnish.recipe import Trigger
from burnish.resources import FiringResource, ScheduleResource

__all__ = ["schedules"]

_NOT_UNDERSTOOD = "not understood"


@click.group()
def schedules() -> None:
    """Jobs that are submitted again and again: by time, by interval, or when something is new."""


@schedules.command("list")
@limit_option
@cursor_option
@json_option
@guarded
def list_(limit: int, cursor: str | None, as_json: bool) -> None:
    """List schedules, newest first."""
    with client() as burnish:
        page = burnish.schedules.list(limit, cursor)
    if as_json:
        return print_json(page)
    table = plain_table()
    for title in ("schedule", "state", "when", "job", "next", "last"):
        table.add_column(title, overflow="fold")
    for item in page.items:
        table.add_row(
            item.name,
            item.state,
            _when(item.trigger),
            f"{item.kind or _NOT_UNDERSTOOD} {item.job.model} on {item.job.dataset}" if item.job else _NOT_UNDERSTOOD,
            f"{item.next_at:%m-%d %H:%M} UTC" if item.next_at and not item.not_understood else "",
            item.last.outcome if item.last else "",
        )
    console.print(table if page.items else "No schedules yet. Make one with `burnish schedules create`.")
    for item in page.items:
        if item.not_understood:
            _tell_unread(item)
    tell_more(page.next)
    return None


@schedules.command()
@click.argument("schedule")
@click.option("--limit", type=click.IntRange(1, 200), default=10, show_default=True, help="Entries of the history.")
@json_option
@guarded
def show(schedule: str, limit: int, as_json: bool) -> None:
    """Show a schedule (name or id) and the newest entries of its history."""
    with client() as burnish:
        found = burnish.schedules.get(schedule)
        if as_json:
            return print_json(found)
        history = burnish.schedules.history(schedule, limit)
    _tell(found)
    console.print()
    _tell_history(history.items)
    return None


@schedules.command()
@click.argument("schedule")
@limit_option
@cursor_option
@json_option
@guarded
def history(schedule: str, limit: int, cursor: str | None, as_json: bool) -> None:
    """List every time a schedule was due, and what came of it."""
    with client() as burnish:
        page = burnish.schedules.history(schedule, limit, cursor)
    if as_json:
        return print_json(page)
    _tell_history(page.items)
    tell_more(page.next)
    return None


@schedules.command()
@click.argument("name")
@click.argument("model", shell_complete=model_names)
@click.option("--data", required=True, shell_complete=dataset_names, help="Name or id of an uploaded dataset.")
@click.option("--cron", help="Five fields, like '0 3 * * *'.")
@click.option("--timezone", help="Of the cron expression, like Europe/Berlin.  [default: UTC]")
@click.option("--every", help="An interval, like 6h.")
@click.option("--on", help="model, dataset, worker_class or toolchain: when something of that is new.")
@click.option("--recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML or JSON.")
@click.option("--max-drop", help="Largest loss of quality, like 0.5%.")
@click.option("--priority", type=int, default=5, show_default=True, help="0 runs first, 9 last.")
@click.option("--overlap", type=click.Choice(["skip", "queue", "cancel_previous"]), default="skip", show_default=True,
              help="What happens while the job before has not ended.")  # fmt: skip
@click.option("--promote", metavar="ALIAS", help="Give the result this alias if it is proven better than what has it.")
@click.option("--remeasure", metavar="ALIAS", help="Only measure what has this alias again, on the newest data.")
@json_option
@guarded
def create(
    name: str, model: str, data: str, recipe: Path | None, max_drop: str | None, as_json: bool, **options: Any
) -> None:
    """Make the schedule NAME, which submits MODEL (name or id) with the newest data again and again."""
    document = read_document(recipe) if recipe else {}
    if max_drop is not None:
        document["goal"] = {**(document.get("goal") or {}), "max_drop": max_drop}
    trigger = {key: options[key] for key in ("cron", "timezone", "every", "on") if options[key] is not None}
    spec: dict[str, Any] = {"name": name, "trigger": trigger, "overlap": options["overlap"]}
    spec["job"] = {"model": model, "dataset": data, "recipe": document, "priority": options["priority"]}
    if options["promote"]:
        spec["promote"] = options["promote"]
    if options["remeasure"]:
        spec |= {"kind": "remeasure", "watch": options["remeasure"]}
    with client() as burnish:
        made = burnish.schedules.create(spec)
    print_json(made) if as_json else _tell(made)


@schedules.command()
@click.argument("schedule")
@json_option
@guarded
def pause(schedule: str, as_json: bool) -> None:
    """Let a schedule fire no more until it is resumed."""
    with client() as burnish:
        found = burnish.schedules.pause(schedule)
    print_json(found) if as_json else console.print(f"{found.name} is paused.")


@schedules.command()
@click.argument("schedule")
@json_option
@guarded
def resume(schedule: str, as_json: bool) -> None:
    """Let a schedule fire again, from now on."""
    with client() as burnish:
        found = burnish.schedules.resume(schedule)
    print_json(found) if as_json else _tell(found)


@schedules.command()
@click.argument("schedule")
@json_option
@guarded
def run(schedule: str, as_json: bool) -> None:
    """Fire a schedule now, paused or not."""
    with client() as burnish:
        firing = burnish.schedules.run(schedule)
    print_json(firing) if as_json else _tell_history([firing])


@schedules.command("rm")
@click.argument("schedule")
@guarded
def remove(schedule: str) -> None:
    """Delete a schedule and its history; its jobs stay."""
    with client() as burnish:
        burnish.schedules.delete(schedule)
    console.print(f"{schedule} is deleted.")


def _when(trigger: Trigger | None) -> str:
    if trigger is None:
        return _NOT_UNDERSTOOD
    if trigger.cron is not None:
        return f"{trigger.cron} ({trigger.timezone})"
    return f"every {trigger.every:g} s" if trigger.every is not None else f"on a new {trigger.on}"


def _tell(schedule: ScheduleResource) -> None:
    fires = schedule.next_at is not None and not schedule.not_understood
    following = f", next at {schedule.next_at:%Y-%m-%d %H:%M} UTC" if fires else ""
    aim = f", promotes to {schedule.promote}" if schedule.promote else ""
    aim = f", watches {schedule.watch or 'production'}" if schedule.kind == "remeasure" else aim
    console.print(f"{schedule.name} ({schedule.id}) is {schedule.state}: {_when(schedule.trigger)}{following}{aim}.")
    if schedule.not_understood:
        _tell_unread(schedule)


def _tell_unread(schedule: ScheduleResource) -> None:
    told = f"{schedule.name} does not fire: another version of Burnish wrote parts of it that this one can't read."
    console.print(told, soft_wrap=True, markup=False)
    for fault in schedule.not_understood:
        console.print(f"  {fault.where}: {fault.message}", soft_wrap=True, markup=False)
    console.print(f"  {schedule.not_understood[0].cure}", soft_wrap=True, markup=False)


def _tell_history(items: Any) -> None:
    table = plain_table()
    for title in ("at", "cause", "outcome", "job", "why"):
        table.add_column(title, overflow="fold", no_wrap=title == "job")
    for item in items:
        table.add_row(
            f"{item.at:%m-%d %H:%M:%S}", item.cause, item.outcome, item.job or "", Text(_why(item), overflow="fold")
        )
    console.print(table if table.row_count else "It was never due yet.")


def _why(firing: FiringResource) -> str:
    decision = f" {firing.decision.outcome.capitalize()}: {firing.decision.reason}" if firing.decision else ""
    unread = " Another version of Burnish wrote parts of what was decided." if firing.not_understood else ""
    return firing.reason + decision + unread
