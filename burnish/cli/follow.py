"""Following a job: a live step tree on a terminal, plain lines elsewhere."""

from __future__ import annotations

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from burnish.cli.console import status
from burnish.cli.tables import STATE_MARKS, step_line
from burnish.client import Client
from burnish.recipe.quantities import format_seconds
from burnish.resources import JobResource

__all__ = ["follow"]


def follow(client: Client, job_id: str) -> JobResource:
    """Shows progress on standard error until the job is finished, and returns it."""
    return _live(client, job_id) if status.is_terminal else _lines(client, job_id)


def _live(client: Client, job_id: str) -> JobResource:
    with Live(console=status, refresh_per_second=8, transient=True) as live:
        for job in client.watch(job_id):
            live.update(_tree(job))
    return job


def _tree(job: JobResource) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for step in job.steps:
        running = step.state == "leased"
        table.add_row(
            Text(
                STATE_MARKS[step.state],
                style={"done": "green", "failed": "red", "leased": "cyan"}.get(step.state, "dim"),
            ),
            Text(step.name, style="" if running else "dim"),
            ProgressBar(total=1.0, completed=step.progress, width=20) if running else Text("cache" if step.hit else ""),
            Text(step.doing or "" if running else format_seconds(step.seconds) if step.seconds else "", style="dim"),
        )
    return table


def _lines(client: Client, job_id: str) -> JobResource:
    told: dict[str, str] = {}
    for job in client.watch(job_id):
        for step in job.steps:
            if step.state in ("leased", "done", "failed") and told.get(step.name) != step.state:
                told[step.name] = step.state
                status.print(step_line(step), markup=False, soft_wrap=True)
    return job
