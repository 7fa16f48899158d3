"""`burnish jobs | show | watch | cancel | retry | priority | fetch`."""

from __future__ import annotations

from pathlib import Path

import click

from burnish.cli.completion import job_ids
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
from burnish.cli.follow import follow
from burnish.cli.optimize import tell_end
from burnish.cli.tables import failure_lines, plain_table, steps_table, usage, verdict_table
from burnish.errors import NotFound
from burnish.recipe.quantities import format_fraction
from burnish.resources import JobResource

__all__ = ["cancel", "fetch", "jobs", "priority", "retry", "show", "watch"]


@click.command()
@click.option("--state", help="Only jobs in this state.")
@limit_option
@cursor_option
@json_option
@guarded
def jobs(state: str | None, limit: int, cursor: str | None, as_json: bool) -> None:
    """List jobs, newest first."""
    with client() as burnish:
        page = burnish.jobs(limit, cursor, state)
    if as_json:
        return print_json(page)
    table = plain_table()
    for title in ("job", "state", "model", "verdict", "speed-up", "drop", "created"):
        table.add_column(title, no_wrap=title == "job", overflow="fold")
    for job in page.items:
        table.add_row(
            job.id,
            job.state,
            job.model,
            (job.outcome or "").replace("_", " "),
            f"{job.speedup:.2f}×" if job.speedup is not None else "",
            format_fraction(job.drop) if job.drop is not None else "",
            f"{job.created_at:%m-%d %H:%M}",
        )
    console.print(table if page.items else "No jobs yet. Submit one with `burnish optimize MODEL --data DATA`.")
    tell_more(page.next)
    return None


@click.command()
@click.argument("job_id", shell_complete=job_ids)
@json_option
@guarded
def show(job_id: str, as_json: bool) -> None:
    """Show a job: its verdict, its steps, and which of them were answered from the cache or why not."""
    with client() as burnish:
        job = burnish.job(job_id)
        if as_json:
            return print_json(job)
        console.print(f"{job.id}  {job.state}  {job.model}  {burnish.url}/jobs/{job.id}", soft_wrap=True)
    if job.schedule:
        console.print(f"Made by schedule {job.schedule}  {burnish.url}/schedules/{job.schedule}", soft_wrap=True)
    for fault in job.not_understood:
        told = f"Not shown, since another version of Burnish wrote it: {fault.where}: {fault.message}"
        console.print(told, soft_wrap=True, markup=False)
    console.print()
    console.print(steps_table(job))
    console.print()
    _tell(job)
    return None


def _tell(job: JobResource) -> None:
    if job.error:
        console.print(f"[red bold]{job.error.code}[/] ({job.error.error_class}): {job.error.message}", soft_wrap=True)
        console.print(f"  {job.error.cure}", soft_wrap=True, markup=False)
        for line in failure_lines(job):
            console.print(line, soft_wrap=True)
    elif job.verdict:
        console.print(verdict_table(job))
        usage(job, console)


@click.command()
@click.argument("job_id", shell_complete=job_ids)
@json_option
@guarded
def watch(job_id: str, as_json: bool) -> None:
    """Follow a job until it is finished."""
    with client() as burnish:
        tell_end(follow(burnish, job_id), as_json)


@click.command()
@click.argument("job_id", shell_complete=job_ids)
@json_option
@guarded
def cancel(job_id: str, as_json: bool) -> None:
    """Cancel a job. What it shares with other jobs goes on for them."""
    with client() as burnish:
        job = burnish.cancel(job_id)
    print_json(job) if as_json else console.print(f"{job.id} is {job.state}.")


@click.command()
@click.argument("job_id", shell_complete=job_ids)
@json_option
@guarded
def retry(job_id: str, as_json: bool) -> None:
    """Run a failed or canceled job again, from the first step that is not done."""
    with client() as burnish:
        job = burnish.retry(job_id)
    print_json(job) if as_json else console.print(f"{job.id} is {job.state}.")


@click.command()
@click.argument("job_id", shell_complete=job_ids)
@click.argument("level", metavar="N", type=click.IntRange(0, 9))
@json_option
@guarded
def priority(job_id: str, level: int, as_json: bool) -> None:
    """Change the priority of a job that waits or runs: 0 goes first, 9 last."""
    with client() as burnish:
        job = burnish.set_priority(job_id, level)
    print_json(job) if as_json else console.print(f"{job.id} is {job.state} with priority {job.priority}.")


@click.command()
@click.argument("job_id", shell_complete=job_ids)
@click.option("--artifact", help="Name or digest of an artifact; by default the chosen one.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=".", help="Folder for the file."
)
@guarded
def fetch(job_id: str, artifact: str | None, output: Path) -> None:
    """Download an artifact of a job, and check its digest."""
    with client() as burnish:
        job = burnish.job(job_id)
        wanted = [item for item in job.artifacts if artifact in (item.name, item.digest)]
        if artifact and not wanted:
            raise NotFound(
                f"Job {job.id} has no artifact {artifact!r}.",
                cure=f"Use one of {', '.join(item.name for item in job.artifacts) or 'those of another job'}.",
            )
        path = burnish.fetch(job, output, wanted[0] if wanted else None)
    console.print(str(path), soft_wrap=True)
