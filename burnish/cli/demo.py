"""`burnish demo`: the main job, from a trained model to a proven faster one."""

from __future__ import annotations

import time
from pathlib import Path

import click

from burnish.cli.console import client, console, guarded, status
from burnish.cli.follow import follow
from burnish.cli.optimize import job_error
from burnish.cli.serve import need_server
from burnish.cli.tables import usage, verdict_table
from burnish.passes import Distill, Prune, Quantize
from burnish.recipe import Goal, Recipe, Target
from burnish.recipe.quantities import format_bytes, format_fraction

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
    with client() as burnish:
        console.print("1. A model: a residual CNN, trained on real handwritten digits …")
        from burnish.demo.digits import train

        trained = train(output)
        console.print(
            f"   {trained.parameters:,} parameters, {format_fraction(trained.accuracy)} right on 897 unseen images, "
            f"{format_bytes(trained.model.stat().st_size)} ({trained.model})"
        )
        model = burnish.upload_model(trained.model)
        dataset = burnish.upload_dataset(trained.dataset)
        job = burnish.submit(model.id, dataset.id, RECIPE)
        console.print(
            "2. A job: prune, distill, quantize; least time on one CPU thread, at most 0.5 points less accurate."
        )
        console.print(f"   {burnish.url}/jobs/{job.id}", soft_wrap=True)
        job = follow(burnish, job.id)
        if job.state != "succeeded":
            raise job_error(job)
        console.print("3. The verdict:\n")
        console.print(verdict_table(job))
        console.print()
        if job.artifacts:
            path = burnish.fetch(job, output)
            console.print(f"4. The file: {path}", soft_wrap=True)
            usage(job, console)
        console.print(f"\n5. Its page: {burnish.url}/jobs/{job.id}", soft_wrap=True)
    status.print(f"Took {time.monotonic() - began:.0f} s. The service goes on running; stop it with `burnish down`.")
