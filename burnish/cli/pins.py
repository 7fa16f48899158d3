"""`burnish pin | unpin`: which models' results stay in the store, however full that is."""

from __future__ import annotations

import click

from burnish.cli.completion import model_names
from burnish.cli.console import client, console, guarded, json_option, print_json

__all__ = ["pin", "unpin"]


@click.command()
@click.argument("model", shell_complete=model_names)
@json_option
@guarded
def pin(model: str, as_json: bool) -> None:
    """Keep what jobs of MODEL (id, name or name:version) made from being evicted from the store."""
    with client() as burnish:
        found = burnish.pin(model)
    print_json(found) if as_json else console.print(f"{found.name}:{found.version} is pinned.")


@click.command()
@click.argument("model", shell_complete=model_names)
@json_option
@guarded
def unpin(model: str, as_json: bool) -> None:
    """Take the pin off MODEL."""
    with client() as burnish:
        found = burnish.unpin(model)
    print_json(found) if as_json else console.print(f"{found.name}:{found.version} is not pinned.")
