"""`burnish optimize` and `burnish submit`: from a file to a verdict, in one command or as a job to follow later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from burnish.cli.completion import dataset_or_file, model_or_file
from burnish.cli.console import client, console, guarded, json_option, print_json, status
from burnish.cli.documents import read_document
from burnish.cli.follow import follow
from burnish.cli.tables import usage, verdict_table
from burnish.client import Client
from burnish.client.transport import error_from
from burnish.errors import BurnishError, Conflict
from burnish.recipe import Recipe
from burnish.resources import JobResource

__all__ = ["optimize", "submit", "tell_end"]

_OPTIONS = [
    click.argument("model", shell_complete=model_or_file),
    click.option("--data", required=True, shell_complete=dataset_or_file,
                 help="A .safetensors or .npz file, or the name or id of a dataset."),
    click.option("--max-drop", help="Largest loss of quality, like 0.5%."),
    click.option("--max-size", help="Largest artifact, like 2MB."),
    click.option("--max-latency", help="Longest median time of one call, like 5ms."),
    click.option("--target", help="Device, and threads behind a colon: cpu:1."),
    click.option("--batch", type=int, help="Samples per call."),
    click.option("--backend", help="auto, inductor, onnxruntime, openvino, eager or executorch."),
    click.option("--recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="YAML or JSON."),
    click.option("--seed", type=int, help="Of everything random."),
    click.option("--priority", type=int, default=5, show_default=True, help="0 runs first, 9 last."),
]  # fmt: skip


def _with_options(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@_with_options
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=".", help="Folder to fetch into."
)
@json_option
@guarded
def optimize(model: str, data: str, output: Path, as_json: bool, priority: int, **options: Any) -> None:
    """Make MODEL (a .pt2 file, or the name of an uploaded one) fast: submit, follow, print the verdict, fetch."""
    recipe = read_recipe(**options)
    with client() as burnish:
        job = _submit(burnish, model, data, recipe, priority)
        status.print(f"Job {job.id}  {burnish.url}/jobs/{job.id}", soft_wrap=True)
        job = follow(burnish, job.id)
        tell_end(job, as_json)
        if job.artifacts:
            path = burnish.fetch(job, output)
            status.print(f"\nWrote {path}", soft_wrap=True)
            if not as_json:
                usage(job, console)


@click.command()
@_with_options
@json_option
@guarded
def submit(model: str, data: str, as_json: bool, priority: int, **options: Any) -> None:
    """Submit a job and return at once; follow it with `burnish watch`."""
    recipe = read_recipe(**options)
    with client() as burnish:
        job = _submit(burnish, model, data, recipe, priority)
        if as_json:
            print_json(job)
        else:
            console.print(job.id)
            status.print(f"Follow it with `burnish watch {job.id}` or at {burnish.url}/jobs/{job.id}", soft_wrap=True)


def tell_end(job: JobResource, as_json: bool) -> None:
    """Prints the verdict of a finished job, or its document; raises its error if it did not succeed."""
    if as_json:
        print_json(job)
    if job.state != "succeeded":
        raise job_error(job)
    if not as_json:
        console.print(verdict_table(job))


def job_error(job: JobResource) -> BurnishError:
    """The error of a job that did not succeed, fit to be raised."""
    if job.error is None:
        return Conflict(f"Job {job.id} was {job.state}.", cure=f"Run it again with `burnish retry {job.id}`.")
    return error_from(job.error.code, job.error.message, job.error.cure, job.error.where)


def read_recipe(
    *,
    recipe: Path | None,
    max_drop: str | None,
    max_size: str | None,
    max_latency: str | None,
    target: str | None,
    batch: int | None,
    backend: str | None,
    seed: int | None,
) -> Recipe:
    """The recipe file with the options laid over it, checked before anything is uploaded.

    Raises:
        InvalidSpec: with every fault and its path.
    """
    document = read_document(recipe) if recipe else {}
    device, _, threads = (target or "").partition(":")
    for section, values in (
        ("goal", {"max_drop": max_drop, "max_size": max_size, "max_latency": max_latency}),
        ("target", {"device": device or None, "threads": threads or None, "batch": batch, "backend": backend}),
    ):
        given = {key: value for key, value in values.items() if value is not None}
        if given:
            document[section] = {**(document.get(section) or {}), **given}
    if seed is not None:
        document["seed"] = seed
    return Recipe.parse(document, at="")


def _submit(burnish: Client, model: str, data: str, recipe: Recipe, priority: int) -> JobResource:
    model_id = _upload(burnish.upload_model, model) if Path(model).is_file() else model
    dataset_id = _upload(burnish.upload_dataset, data) if Path(data).is_file() else data
    return burnish.submit(model_id, dataset_id, recipe, priority)


def _upload(upload: Any, path: str) -> str:
    columns = (TextColumn("Uploading {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=status, transient=True, disable=not status.is_terminal) as progress:
        task = progress.add_task(Path(path).name)
        return str(upload(path, seen=lambda moved, size: progress.update(task, completed=moved, total=size)).id)
