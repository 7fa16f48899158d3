"""`burnish aliases …`: which artifact of a model is `production`."""

from __future__ import annotations

from pathlib import Path

import click

from burnish.cli.completion import job_ids, model_names
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
from burnish.recipe.quantities import format_bytes
from burnish.resources import AliasResource

__all__ = ["aliases"]


@click.group()
def aliases() -> None:
    """Names such as `production` for one artifact of a model."""


@aliases.command("list")
@click.argument("model", shell_complete=model_names)
@json_option
@guarded
def list_(model: str, as_json: bool) -> None:
    """List the aliases of MODEL."""
    with client() as burnish:
        page = burnish.aliases.list(model)
    if as_json:
        return print_json(page)
    table = plain_table()
    for title in ("alias", "candidate", "made from", "size", "since", "why"):
        table.add_column(title, overflow="fold")
    for item in page.items:
        entry = item.entry
        size, since = format_bytes(entry.artifact.size), f"{entry.at:%m-%d %H:%M}"
        table.add_row(item.alias, entry.candidate, entry.model_version, size, since, entry.reason)
    console.print(table if page.items else "No aliases yet. Set one with `burnish aliases promote`.")
    return None


@aliases.command()
@click.argument("model", shell_complete=model_names)
@click.argument("alias", default="production")
@json_option
@guarded
def show(model: str, alias: str, as_json: bool) -> None:
    """Show what ALIAS of MODEL stands for."""
    with client() as burnish:
        found = burnish.aliases.get(model, alias)
        address = burnish.url + found.links["artifact"]
    if as_json:
        return print_json(found)
    _tell(found)
    console.print(f"  {found.entry.reason}", soft_wrap=True, markup=False)
    console.print(f"  {address}", soft_wrap=True, markup=False)
    return None


@aliases.command()
@click.argument("model", shell_complete=model_names)
@click.argument("job", shell_complete=job_ids)
@click.option("--alias", default="production", show_default=True)
@click.option("--artifact", help="Candidate or digest; by default the one that the job chose.")
@click.option("--reason", help="Kept in the history.")
@json_option
@guarded
def promote(model: str, job: str, alias: str, artifact: str | None, reason: str | None, as_json: bool) -> None:
    """Let an alias of MODEL stand for an artifact of JOB."""
    with client() as burnish:
        found = burnish.aliases.set(model, alias, job, artifact, reason)
    print_json(found) if as_json else _tell(found)


@aliases.command()
@click.argument("model", shell_complete=model_names)
@click.argument("alias", default="production")
@json_option
@guarded
def rollback(model: str, alias: str, as_json: bool) -> None:
    """Bring back what ALIAS of MODEL stood for before."""
    with client() as burnish:
        found = burnish.aliases.rollback(model, alias)
    print_json(found) if as_json else _tell(found)


@aliases.command()
@click.argument("model", shell_complete=model_names)
@click.argument("alias", default="production")
@limit_option
@cursor_option
@json_option
@guarded
def history(model: str, alias: str, limit: int, cursor: str | None, as_json: bool) -> None:
    """List what ALIAS of MODEL stood for, newest first."""
    with client() as burnish:
        page = burnish.aliases.history(model, alias, limit, cursor)
    if as_json:
        return print_json(page)
    table = plain_table()
    for title in ("at", "action", "candidate", "made from", "job", "why"):
        table.add_column(title, overflow="fold", no_wrap=title == "job")
    for item in page.items:
        made = (item.candidate, item.model_version, item.job, item.reason)
        table.add_row(f"{item.at:%m-%d %H:%M:%S}", item.action.replace("_", " "), *made)
    console.print(table if page.items else "It stood for nothing yet.")
    tell_more(page.next)
    return None


@aliases.command()
@click.argument("model", shell_complete=model_names)
@click.argument("alias", default="production")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@click.option("--digest", help="Of what is there: nothing is transferred if the alias still stands for it.")
@guarded
def fetch(model: str, alias: str, output: Path, digest: str | None) -> None:
    """Download what ALIAS of MODEL stands for, and check its digest."""
    with client() as burnish:
        found = burnish.aliases.fetch(model, alias, output, digest)
    console.print(f"{found}  {output}" if found else f"{digest}  is still {alias}", soft_wrap=True)


@aliases.command("rm")
@click.argument("model", shell_complete=model_names)
@click.argument("alias")
@guarded
def remove(model: str, alias: str) -> None:
    """Let ALIAS of MODEL stand for nothing; its history stays."""
    with client() as burnish:
        burnish.aliases.delete(model, alias)
    console.print(f"{alias} of {model} stands for nothing.")


def _tell(found: AliasResource) -> None:
    entry = found.entry
    console.print(
        f"{found.alias} of {found.model} is {entry.candidate} of {entry.model_version} "
        f"({format_bytes(entry.artifact.size)}, {entry.artifact.digest[:12]}).",
        soft_wrap=True,
    )
