"""The step that runs a recipe's whole chain on a handful of samples, before hours are spent on it."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any, ClassVar

import torch

from burnish.errors import BurnishError, UnsupportedModel
from burnish.recipe import Recipe
from workers.backends import BACKENDS_BY_NAME
from workers.datasets import read_samples, write_samples
from workers.passes import RUNNERS
from workers.passes.base import Samples
from workers.programs import batch_range, load_program, summary
from workers.steps.apply_pass import ApplyPass
from workers.steps.base import Made, Step, StepContext

__all__ = ["Preflight"]

MOST_SAMPLES = 64
WORK = 2e11
"""Floating-point operations of one run over the samples: their number follows from it."""


class Preflight(Step):
    """Runs every pass with the least work that shows whether it can be done, each on the result of the one before.

    It runs beside the chain itself, and its failure ends the job: a recipe whose last pass can't treat what the ones
    before it leave fails in seconds, not after the first pass has trained for hours.

    Settings: `passes`, as in a recipe; `backends`. Inputs: `program`, `calibration`, and `profile` and `student` if a
    pass asks for them. Report: `passes` with `seconds` here and `estimate` in full, their sum, and the peak memory.
    """

    name: ClassVar[str] = "preflight"
    libraries: ClassVar[tuple[str, ...]] = ("torch",)

    def parts(self) -> tuple[object, ...]:
        return tuple(RUNNERS.values())

    def run(self, context: StepContext) -> Made:
        """Raises:
        UnsupportedModel: a pass, or every backend, can't treat what the ones before leave. So do a pass's own errors.
        """
        recipe = Recipe.model_validate({"passes": context.settings["passes"]})
        every = read_samples(context.inputs["calibration"])
        few = _few(every, context.inputs["program"])
        calibration = context.folder / "calibration.safetensors"
        write_samples(few, calibration)
        program = context.inputs["program"]
        told: list[dict[str, Any]] = []
        for index, settings in enumerate(recipe.passes):
            context.progress(index / len(recipe.passes), f"{settings.name}: on {len(few)} samples")
            start = time.monotonic()
            small = settings.shrunk()
            folder = context.folder / str(index)
            folder.mkdir()
            try:
                program = _apply(context, settings.name, small.model_dump(mode="json"), program, calibration, folder)
            except BurnishError as error:
                if error.error_class == "user":
                    raise
                # A fault of ours on so few samples says nothing of the full run, which tells its own.
                return Made(report={"unsure": str(error), "passes": told})
            seconds = time.monotonic() - start
            share = settings.work(len(every)) / small.work(len(few))
            told.append({"name": settings.name, "seconds": seconds, "estimate": seconds * share})
        _check_backends(context, program)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        estimate = sum(each["estimate"] for each in told)
        return Made(report={"samples": len(few), "passes": told, "estimate": estimate, "peak_memory": peak})


def _few(samples: Samples, program: Path) -> Samples:
    loaded = load_program(program)
    low, _ = batch_range(loaded)
    count = max(low, 2, min(MOST_SAMPLES, int(WORK / max(1, summary(loaded)[1]))))
    rows = torch.arange(min(count, len(samples)))
    return Samples(
        tuple(tensor[rows] for tensor in samples.inputs), None if samples.targets is None else samples.targets[rows]
    )


def _apply(
    context: StepContext, name: str, settings: dict[str, Any], program: Path, calibration: Path, folder: Path
) -> Path:
    """The program after one pass."""
    inputs = {"program": program, "original": context.inputs["program"], "calibration": calibration}
    inputs.update({role: context.inputs[role] for role in ("profile", "student") if role in context.inputs})
    made = ApplyPass(RUNNERS[name]).run(
        StepContext(settings, inputs, folder, context.target, context.seed, lambda share, doing: None)
    )
    return made.outputs["program"]


def _check_backends(context: StepContext, program: Path) -> None:
    loaded = load_program(program)
    refusals = {name: BACKENDS_BY_NAME[name].requires(loaded, context.target) for name in context.settings["backends"]}
    if refusals and all(reasons for reasons in refusals.values()):
        raise UnsupportedModel(
            " ".join(f"{name}: {' '.join(reasons)}" for name, reasons in refusals.items()),
            cure="Change the passes, or the target's backend.",
            where="target.backend",
        )
