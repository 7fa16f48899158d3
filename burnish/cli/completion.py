"""`burnish completion`: what a shell needs to complete commands, options, and the names the service knows."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

import click
import httpx
from click.shell_completion import CompletionItem, get_completion_class
from pydantic import BaseModel

from burnish.client.transport import Transport
from burnish.errors import BurnishError
from burnish.local.running import find
from burnish.resources import DatasetResource, JobSummary, ModelResource, Page
from burnish.settings import Settings

__all__ = ["completion", "dataset_names", "dataset_or_file", "job_ids", "model_names", "model_or_file"]

_PROGRAM = "burnish"
_VARIABLE = "_BURNISH_COMPLETE"
_PATIENCE = 0.7
"""Seconds for the service's answer: who presses Tab waits no longer."""
_MOST = 200
_PLAIN = re.compile(r"[\w.@+-]+", re.ASCII)
"""Names that no shell reads as more than a word. The others, which anybody may have uploaded, are not offered."""
_TOLD = re.compile(r"[\w.@+: -]+", re.ASCII)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that lets SHELL complete commands, job ids, and names of models and datasets.

    \b
    bash:  eval "$(burnish completion bash)"         in ~/.bashrc
    zsh:   eval "$(burnish completion zsh)"          in ~/.zshrc, behind compinit
    fish:  burnish completion fish | source          in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells of the choice"
    click.echo(kind(click.get_current_context().find_root().command, {}, _PROGRAM, _VARIABLE).source(), nl=False)


def job_ids(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem[Any]]:
    """Ids of the newest jobs, with what they are."""
    return _offer("/v1/jobs", JobSummary, begun, lambda job: (job.id, f"{job.state} {job.model}"))


def model_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem[Any]]:
    """Names of uploaded models."""
    return _offer("/v1/models", ModelResource, begun, lambda model: (model.name, "model"))


def model_or_file(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem[Any]]:
    """Names of uploaded models, and files."""
    return [CompletionItem(begun, type="file"), *model_names(context, parameter, begun)]


def dataset_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem[Any]]:
    """Names of uploaded datasets."""
    return _offer("/v1/datasets", DatasetResource, begun, lambda data: (data.name, f"{data.samples} samples"))


def dataset_or_file(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem[Any]]:
    """Names of uploaded datasets, and files."""
    return [CompletionItem(begun, type="file"), *dataset_names(context, parameter, begun)]


def _offer(
    path: str, kind: type[BaseModel], begun: str, say: Callable[[Any], tuple[str, str]]
) -> list[CompletionItem[Any]]:
    """What of a list begins with `begun`, each once."""
    found: dict[str, str] = {}
    for item in _items(path, kind):
        value, told = say(item)
        if value.startswith(begun) and _PLAIN.fullmatch(value):
            found.setdefault(value, told if _TOLD.fullmatch(told) else "")
    return [CompletionItem(value, help=told or None) for value, told in found.items()]


def _items(path: str, kind: type[BaseModel]) -> Iterable[Any]:
    """The newest entries of a list; none if the service does not run or does not answer at once: it is not started, and
    nothing is said, for that would land in the line that is being typed."""
    try:
        settings = Settings.from_environment(os.environ)
        running = None if settings.url else find(settings.data)
        url = settings.url or (running.url if running else "")
        if not url:
            return ()
        headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        with httpx.Client(base_url=url, headers=headers, timeout=_PATIENCE) as connection:
            answer = Transport(url, settings.token, attempts=1, client=connection).get(path, {"limit": _MOST})
        return Page[kind].model_validate_json(answer.content).items  # type: ignore[valid-type]
    except (BurnishError, httpx.InvalidURL, ValueError):
        return ()
