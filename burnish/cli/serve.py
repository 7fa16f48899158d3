"""`burnish up | down | api | worker | tick | doctor`: the service on this machine, whole or in parts."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import NoReturn

import click

from burnish.cli.console import console, guarded, json_option, settings
from burnish.errors import Unavailable

__all__ = ["api", "doctor", "down", "need_server", "tick", "up", "worker"]


@click.command()
@guarded
def up() -> None:
    """Run everything on this machine (API, one worker, the tick, Valkey) until Ctrl-C."""
    need_server()
    from burnish.local.supervisor import run

    run(settings())


@click.command()
@guarded
def down() -> None:
    """Stop the service that `burnish up`, or a command that needed it, started on this machine."""
    from burnish.local.running import stop

    chosen = settings()
    console.print("Stopped." if stop(chosen.data) else f"No service is running on {chosen.data}.", soft_wrap=True)


@click.command()
@guarded
def api() -> None:
    """Run the API (gunicorn)."""
    _become("api")


@click.command()
@guarded
def worker() -> None:
    """Run a worker (Celery)."""
    _become("workers")


@click.command()
@guarded
def tick() -> None:
    """Run the tick: takes back lapsed leases and rings again for what nobody took."""
    _become("workers.tick")


@click.command()
@json_option
@guarded
def doctor(as_json: bool) -> None:
    """Say what is missing or misconfigured on this machine, and how to mend it."""
    import dataclasses
    import json

    from burnish.local.doctor import checks

    found = checks(settings())
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(check) for check in found], indent=2))
    else:
        for check in found:
            console.print("[green]✓[/]" if check.ok else "[red]✗[/]", f"{check.name}: {check.detail}", soft_wrap=True)
            if not check.ok:
                console.print(f"    {check.cure}", soft_wrap=True, markup=False)
    if not all(check.ok for check in found):
        sys.exit(1)


def _become(module: str) -> NoReturn:
    """Replaces this process; `-P` keeps folders of the working directory from being imported in place of ours."""
    settings()  # a bad value fails here, with the variable's name
    need_server()
    os.execv(sys.executable, [sys.executable, "-P", "-m", module])


def need_server() -> None:
    """Raises `Unavailable` where only the client is installed."""
    if importlib.util.find_spec("celery") is None:
        raise Unavailable(
            "This installation holds only the client.", cure="Install the server with `pip install 'burnish[server]'`."
        )
