"""`burnish export`: the results of a job, as files of experiment trackers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click

from burnish.cli.completion import job_ids
from burnish.cli.console import client, console, guarded
from burnish.resources import JobResource
from burnish.trackers import to_csv, to_mlflow, to_tensorboard, to_wandb

__all__ = ["export"]

_Folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("job_id", metavar="JOB", shell_complete=job_ids)
@click.option("--tensorboard", type=_Folder, metavar="DIR", help="Event files, below DIR/JOB.")
@click.option("--mlflow", metavar="URI", help="Runs in an MLflow tracking store: http://…, sqlite:///… or a folder.")
@click.option("--wandb", type=_Folder, metavar="DIR", help="Offline runs; send them with `wandb sync`.")
@click.option(
    "--csv", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Candidates; and steps beside."
)
@click.option("--name", default="burnish", show_default=True, help="Experiment of MLflow, project of Weights & Biases.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as a document.")
@guarded
def export(
    job_id: str,
    tensorboard: Path | None,
    mlflow: str | None,
    wandb: Path | None,
    csv: Path | None,
    name: str,
    as_json: bool,
) -> None:
    """Write the results of JOB for TensorBoard, MLflow, Weights & Biases, or as CSV; several at once if you like."""
    writers: dict[str, Callable[[JobResource], list[str]]] = {}
    if tensorboard:
        writers["tensorboard"] = lambda job: [str(to_tensorboard(job, tensorboard))]
    if mlflow:
        writers["mlflow"] = lambda job: [f"{mlflow} run {to_mlflow(job, mlflow, name)}"]
    if wandb:
        writers["wandb"] = lambda job: [str(to_wandb(job, wandb, name))]
    if csv:
        writers["csv"] = lambda job: [str(path) for path in to_csv(job, csv)]
    if not writers:
        raise click.UsageError("Say where to: --tensorboard DIR, --mlflow URI, --wandb DIR or --csv FILE.")
    with client() as burnish:
        job = burnish.job(job_id)
    written = {kind: write(job) for kind, write in writers.items()}
    if as_json:
        return click.echo(json.dumps({"job": job.id, "written": written}, indent=2, ensure_ascii=False))
    for kind, places in written.items():
        for place in places:
            console.print(f"{kind}: {place}", soft_wrap=True, markup=False)
    return None
