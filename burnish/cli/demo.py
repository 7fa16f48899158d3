"""`burnish demo`: the main job, from a trained model to a proven faster one."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from burnish.cli.console import client, console, guarded, status
from burnish.cli.follow import follow
from burnish.cli.optimize import job_error
from burnish.cli.serve import need_server
from burnish.cli.tables import usage, verdict_table
from burnish.client import Client
from burnish.passes import Distill, Prune, Quantize
from burnish.recipe import Goal, Recipe, Target
from burnish.recipe.quantities import format_bytes, format_fraction
from burnish.resources import JobResource

__all__ = ["RECIPE", "demo"]

RECIPE = Recipe(
    target=Target(device="cpu", threads=1, batch=1),
    goal=Goal(max_drop=0.005),
    passes=(Prune(ratio=0.5), Distill(epochs=20), Quantize()),
)
"""What the demo asks for."""


@click.command()
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default="demo", show_default=True)
@guarded
def demo(output: Path) -> None:
    """Train a digit classifier on real scans, have it made fast, and show the proof."""
    need_server()
    began = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(1) as beside:
        starting = beside.submit(client)  # the service comes up while the model is trained
        model, dataset = _train(output)
        with starting.result() as burnish:
            job = _optimize(burnish, model, dataset)
            console.print("3. The verdict:\n")
            console.print(verdict_table(job))
            if job.artifacts:
                console.print(f"\n4. The file: {burnish.fetch(job, output)}", soft_wrap=True)
                usage(job, console)
            console.print(f"\n5. Its page: {burnish.url}/jobs/{job.id}", soft_wrap=True)
    status.print(f"Took {time.monotonic() - began:.0f} s. The service goes on running; stop it with `burnish down`.")


def _train(output: Path) -> tuple[Path, Path]:
    """The files of a trained model and of images it has not seen."""
    from burnish.demo.digits import train  # needs torch and scikit-learn

    console.print("1. A model: a residual CNN, trained on real handwritten digits …")
    trained = train(output)
    size = format_bytes(trained.model.stat().st_size)
    console.print(f"   {trained.parameters:,} parameters, {size} ({trained.model})", soft_wrap=True)
    console.print(f"   {format_fraction(trained.accuracy)} right on 897 images it has not seen ({trained.dataset})")
    return trained.model, trained.dataset


def _optimize(burnish: Client, model: Path, dataset: Path) -> JobResource:
    job = burnish.submit(burnish.upload_model(model).id, burnish.upload_dataset(dataset).id, RECIPE)
    console.print("2. A job: prune, distill, quantize; least time on one thread, at most 0.5 points less accurate")
    console.print(f"   {burnish.url}/jobs/{job.id}", soft_wrap=True)
    job = follow(burnish, job.id)
    if job.state != "succeeded":
        raise job_error(job)
    return job
