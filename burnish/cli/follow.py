"""Following a job: a live step tree on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live

from burnish.cli.console import status
from burnish.cli.tables import step_line
from burnish.cli.tree import tree
from burnish.client import Client
from burnish.resources import JobResource

__all__ = ["follow"]

_REDRAWS = 4
"""A second, so that times run on between two changes of the job."""
_INTERRUPTED = 130


def follow(client: Client, job_id: str) -> JobResource:
    """Shows progress on standard error until the job is finished, and returns it.

    Ctrl-C ends the process and leaves the job running; how to follow it again is printed.
    """
    live = status.is_terminal and not status.is_dumb_terminal
    try:
        return _live(client, job_id) if live else _lines(client, job_id)
    except KeyboardInterrupt:
        again = f"Follow it with `burnish watch {job_id}`, stop it with `burnish cancel {job_id}`."
        status.print(f"\nJob {job_id} goes on. {again}", soft_wrap=True, markup=False)
        sys.exit(_INTERRUPTED)


class _Picture:
    """The newest state of the job, drawn anew at each refresh."""

    def __init__(self, job: JobResource) -> None:
        self.job = job

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield tree(self.job, width=options.max_width, height=console.height - 1, now=datetime.now(UTC))


def _live(client: Client, job_id: str) -> JobResource:
    changes = client.watch(job_id)
    picture = _Picture(next(changes))
    with Live(picture, console=status, refresh_per_second=_REDRAWS) as live:
        for job in changes:
            picture.job = job
        live.refresh()
    status.print()
    return picture.job


def _lines(client: Client, job_id: str) -> JobResource:
    told: dict[str, str] = {}
    for job in client.watch(job_id):
        for step in job.steps:
            if step.state in ("leased", "done", "failed") and told.get(step.name) != step.state:
                told[step.name] = step.state
                status.print(step_line(step), markup=False, soft_wrap=True)
    return job
