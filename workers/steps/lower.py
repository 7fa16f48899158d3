"""The step that turns a program into an artifact for one backend."""

from __future__ import annotations

import time
from typing import ClassVar

from burnish.errors import UnsupportedModel
from workers.backends import BACKENDS_BY_NAME
from workers.bundles import BUNDLE, usage, write_bundle
from workers.calling import StateContract, read_calling
from workers.carried import first_steps
from workers.datasets import read_samples
from workers.passes.base import Samples
from workers.programs import input_names, load_program, output_names
from workers.steps.base import Made, Step, StepContext

__all__ = ["Lower"]


class Lower(Step):
    """Lowers `program` by the backend that `settings["backend"]` names.

    Inputs: `program`, `calibration`. Output: `artifact`. A program that the backend can't take is no failure of the
    job: the step is done, without an output, and its report says why (`refused`). A program with a contract of its own
    becomes a bundle (`workers/bundles.py`): the backend's file, the contract, and the Python that keeps it.
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
        calling = read_calling(context.inputs["program"])
        samples = read_samples(context.inputs["calibration"])
        if isinstance(calling, StateContract):
            samples = Samples(first_steps(samples.inputs, calling), None)
        start = time.monotonic()
        try:
            lowered = backend.lower(program, context.target, samples, context.folder)
        except UnsupportedModel as error:
            return Made(report={"refused": str(error)})
        path, filename, lines = lowered.path, backend.filename, backend.usage(input_names(program))
        if names := output_names(program):
            lines += f"# The outputs are, in this order: {', '.join(names)}\n"
        if calling is not None:
            path, filename, lines = context.folder / f"{BUNDLE}.made", BUNDLE, usage(calling, lines, filename)
            write_bundle(lowered.path, backend.name, calling, lines, path)
        report = {
            "filename": filename,
            "notes": list(lowered.notes),
            "seconds": time.monotonic() - start,
            "size": path.stat().st_size,
            "usage": lines,
        }
        return Made(outputs={"artifact": path}, report=report)
