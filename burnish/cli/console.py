"""What every command shares: the two consoles, `--json`, the client, and errors told in one clear paragraph."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from typing import NoReturn, ParamSpec, TextIO, TypeVar

import click
from pydantic import BaseModel
from rich.console import Console

from burnish.client import Client
from burnish.errors import BurnishError, InvalidSpec, Unavailable
from burnish.local.running import find
from burnish.settings import Settings

__all__ = [
    "client",
    "console",
    "cursor_option",
    "fail",
    "guarded",
    "json_option",
    "limit_option",
    "print_json",
    "settings",
    "status",
    "tell_more",
]


def _console(stream: TextIO, stderr: bool) -> Console:
    """As wide as the terminal; what goes into a file or a pipe is not cut."""
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 200)


console = _console(sys.stdout, stderr=False)
"""Results, on standard output."""
status = _console(sys.stderr, stderr=True)
"""Progress and errors, on standard error."""

ParametersT = ParamSpec("ParametersT")
ResultT = TypeVar("ResultT")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the API's own document.")
limit_option = click.option(
    "--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="Entries per page."
)
cursor_option = click.option("--cursor", help="Where the next page starts, as the page before told.")


def settings() -> Settings:
    """The settings of this process, from its environment."""
    return Settings.from_environment(os.environ)


def client() -> Client:
    """A client for `BURNISH_URL`, or for the embedded service, which is started when needed."""
    chosen = settings()
    if not chosen.url and find(chosen.data) is None:
        status.print(f"Starting the service on this machine (state in {chosen.data}; stop it with `burnish down`) …")
    return Client()


def tell_more(cursor: str | None) -> None:
    """How to see the next page of a list, if there is one."""
    if cursor:
        status.print(f"More with --cursor {cursor}")


def print_json(document: BaseModel) -> None:
    """Prints a document as the API sent it."""
    click.echo(json.dumps(document.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False))


def guarded(command: Callable[ParametersT, ResultT]) -> Callable[ParametersT, ResultT]:
    """Turns our errors into one paragraph and exit code 1 (2 for a fault in what was typed or sent)."""

    @functools.wraps(command)
    def run(*arguments: ParametersT.args, **options: ParametersT.kwargs) -> ResultT:
        try:
            return command(*arguments, **options)
        except BurnishError as error:
            fail(error)
        except BrokenPipeError:
            sys.exit(141)

    return run


def fail(error: BurnishError) -> NoReturn:
    """Prints the error with its cure, and ends the process."""
    if isinstance(error, InvalidSpec):
        status.print("[red bold]The request has faults:[/]", soft_wrap=True)
        for fault in error.faults:
            status.print(f"  [bold]{fault.where}[/]  {fault.message} {fault.cure}", soft_wrap=True, markup=True)
    else:
        place = f" (at {error.where})" if error.where else ""
        status.print("[red bold]Error:[/]", f"{error.message}{place}", soft_wrap=True)
        status.print(f"  {error.cure}", soft_wrap=True, markup=False)
    sys.exit(3 if isinstance(error, Unavailable) else 2 if error.error_class == "user" else 1)
