"""`burnish events`: the whole history of a job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from burnish.cli.completion import job_ids
from burnish.cli.console import client, console, guarded
from burnish.cli.tables import printable
from burnish.recipe.quantities import format_seconds
from burnish.resources import EventResource

__all__ = ["events"]


@click.command()
@click.argument("job_id", shell_complete=job_ids)
@click.option("--after", type=click.IntRange(0), default=0, help="Only events behind the one with this id.")
@click.option("--json", "as_json", is_flag=True, help="Print the API's own documents, one a line.")
@guarded
def events(job_id: str, after: int, as_json: bool) -> None:
    """Print the history of a job up to now: changes, log lines, failed attempts."""
    with client() as burnish:
        for event in burnish.history(job_id, after):
            if as_json:
                click.echo(event.model_dump_json())
            else:
                console.print(_line(event), soft_wrap=True, markup=False)


def _line(event: EventResource) -> str:
    say = _SAID.get(event.kind)
    told = say(event.data) if say else ""
    step = f" {event.step}" if event.step else ""
    return f"{event.at:%Y-%m-%d %H:%M:%S} {event.kind}{step}{': ' if told else ''}{printable(told)}"


def _progress(data: Mapping[str, Any]) -> str:
    return f"{data.get('progress') or 0.0:.0%} {data.get('doing') or ''}".rstrip()


def _failure(data: Mapping[str, Any]) -> str:
    error = data.get("error", data)
    attempt = f"attempt {data['attempt']}: " if "attempt" in data else ""
    return f"{attempt}{error.get('message', '')}"


def _leased(data: Mapping[str, Any]) -> str:
    return f"attempt {data.get('attempt')} on {data.get('worker')}"


def _done(data: Mapping[str, Any]) -> str:
    return "from the cache" if data.get("hit") else f"in {format_seconds(data.get('seconds') or 0.0)}"


_SAID: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "job.planned": lambda data: ", ".join(data.get("steps", ())),
    "job.priority": lambda data: f"{data.get('before')} → {data.get('priority')}",
    "job.succeeded": lambda data: str(data.get("outcome") or "").replace("_", " "),
    "job.failed": _failure,
    "step.leased": _leased,
    "step.progress": _progress,
    "step.done": _done,
    "step.failed": _failure,
    "step.retry": _failure,
    "log": lambda data: str(data.get("line", "")),
}
"""What an event says beside its kind, in words; the whole of it is in `--json`."""
