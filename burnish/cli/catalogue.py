"""`burnish models | datasets | workers | passes`: what the service holds, and what it can do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
from burnish.recipe.quantities import format_bytes
from burnish.results import TensorSpec

__all__ = ["datasets", "models", "passes", "workers"]


@click.command()
@limit_option
@cursor_option
@json_option
@guarded
def models(limit: int, cursor: str | None, as_json: bool) -> None:
    """List uploaded models, newest first."""
    with client() as burnish:
        page = burnish.models(limit, cursor)
    if as_json:
        return print_json(page)
    rows = (
        (
            item.id,
            f"{item.name}:{item.version}{' (pinned)' if item.pinned else ''}",
            format_bytes(item.size),
            f"{item.signature.parameters:,}",
            _shapes(item.signature.inputs),
            _shapes(item.signature.outputs),
        )
        for item in page.items
    )
    return _print(("id", "model", "size", "parameters", "inputs", "outputs"), rows, page.next)


@click.command()
@limit_option
@cursor_option
@json_option
@guarded
def datasets(limit: int, cursor: str | None, as_json: bool) -> None:
    """List uploaded datasets, newest first."""
    with client() as burnish:
        page = burnish.datasets(limit, cursor)
    if as_json:
        return print_json(page)
    rows = (
        (
            item.id,
            item.name,
            format_bytes(item.size),
            str(item.samples),
            "labelled" if item.targets else "unlabelled",
            _shapes(item.inputs),
        )
        for item in page.items
    )
    return _print(("id", "dataset", "size", "samples", "", "inputs"), rows, page.next)


@click.command()
@json_option
@guarded
def workers(as_json: bool) -> None:
    """List live workers, with what they are and what they run."""
    with client() as burnish:
        page = burnish.workers()
    if as_json:
        return print_json(page)
    rows = (
        (
            item.name,
            ", ".join(item.queues),
            str(item.threads),
            format_bytes(item.memory),
            " ".join(item.isa),
            f"{len(item.running)} steps",
        )
        for item in page.items
    )
    return _print(("worker", "serves", "threads", "memory", "isa", "runs"), rows, page.next)


@click.command()
@json_option
@guarded
def passes(as_json: bool) -> None:
    """List the passes and backends with their settings."""
    with client() as burnish:
        page = burnish.passes()
    if as_json:
        return print_json(page)
    for item in page.items:
        console.print(f"[bold]{item.name}[/] ({item.kind})  {item.summary}", soft_wrap=True)
        for name, schema in item.settings.get("properties", {}).items():
            text = str(schema.get("description", "")).replace("\n", " ")
            console.print(f"  {name} = {schema.get('default')}   {text}", markup=False, soft_wrap=True)
    return None


def _shapes(tensors: Sequence[TensorSpec]) -> str:
    return ", ".join(
        f"{tensor.name} {tensor.dtype}[{', '.join('·' if size is None else str(size) for size in tensor.shape)}]"
        for tensor in tensors
    )


def _print(titles: Sequence[str], rows: Iterable[Sequence[str]], cursor: str | None) -> None:
    table = plain_table()
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table if table.row_count else "None yet.")
    tell_more(cursor)
