"""The step that turns a program into an artifact for one backend."""

from __future__ import annotations

import time
from typing import ClassVar

from burnish.errors import UnsupportedModel
from workers.backends import BACKENDS_BY_NAME
from workers.datasets import read_samples
from workers.programs import input_names, load_program
from workers.steps.base import Made, Step, StepContext

__all__ = ["Lower"]


class Lower(Step):
    """Lowers `program` by the backend that `settings["backend"]` names.

    Inputs: `program`, `calibration`. Output: `artifact`. A program that the backend can't take is no failure of the
    job: the step is done, without an output, and its report says why (`refused`).
    """

    name: ClassVar[str] = "lower"
    libraries: ClassVar[tuple[str, ...]] = ("torch",)

    def run(self, context: StepContext) -> Made:
        backend = BACKENDS_BY_NAME[context.settings["backend"]]
        program = load_program(context.inputs["program"])
        context.progress(0.1, f"{backend.name}: checking")
        if reasons := backend.requires(program, context.target):
            return Made(report={"refused": " ".join(reasons)})
        context.progress(0.2, f"{backend.name}: compiling")
        samples = read_samples(context.inputs["calibration"])
        start = time.monotonic()
        try:
            lowered = backend.lower(program, context.target, samples, context.folder)
        except UnsupportedModel as error:
            return Made(report={"refused": str(error)})
        report = {
            "filename": backend.filename,
            "notes": list(lowered.notes),
            "seconds": time.monotonic() - start,
            "size": lowered.path.stat().st_size,
            "usage": backend.usage(input_names(program)),
        }
        return Made(outputs={"artifact": lowered.path}, report=report)
