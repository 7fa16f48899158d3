"""The step that reloads an artifact in a fresh process without Burnish, and holds its outputs against two programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import Node

from burnish.errors import UnsupportedModel
from burnish.recipe import Backend
from workers.backends import BACKENDS_BY_NAME
from workers.calling import StateContract, read_calling
from workers.carried import moved_reference, reference, shorter_windows
from workers.datasets import read_samples
from workers.measure.contender import Contender, ContenderFailed, loader_of
from workers.measure.quality import Array, assess, sqnr_db
from workers.measure.reproduction import Case, Precision, Refused, cases, check_cases, rows, tolerance_of
from workers.programs import batch_range, input_names, load_program
from workers.steps.base import Made, Step, StepContext

__all__ = ["Verify"]

BLOCKED = ("torchao",)
"""An artifact needs its runtime alone, not what made it."""
SECONDS = 300.0
"""For loading, and for one case of the checks."""
_SMALL = frozenset({torch.int8, torch.float8_e4m3fn, torch.bfloat16, torch.float16})
"""Types of weights that take less than float32."""
QUALITY_BATCH = 64
"""Samples per call when quality is judged, or the target's batch if that is larger."""


class Verify(Step):
    """Checks one artifact.

    Inputs: `program` (what the artifact was made from), `original`, `artifact`, `heldout`. Without `program`, of an
    artifact that an earlier job has verified, only quality is judged.
    Report: `quality`, `checks`, `load_seconds`, `discordant` and `mcnemar_p`; or `refused` with the reason.
    """

    name: ClassVar[str] = "verify"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "numpy")
    depends_on_isa: ClassVar[bool] = True

    def run(self, context: StepContext) -> Made:
        """Raises:
        UnsupportedModel: an output of the original has no batch dimension.
        """
        backend: Backend = context.settings["backend"]
        try:
            with Contender(
                loader=loader_of(backend),
                artifact=context.inputs["artifact"],
                filename=BACKENDS_BY_NAME[backend].filename,
                threads=context.target.threads,
                folder=context.folder / "contender",
                blocked=BLOCKED,
                device=context.target.device,
            ) as contender:
                return Made(report=verify(contender, context))
        except (Refused, ContenderFailed) as reason:
            return Made(report={"refused": str(reason)})


def verify(contender: Contender, context: StepContext) -> dict[str, Any]:
    """All checks of one contender that is started and not loaded yet.

    Raises:
        Refused, ContenderFailed: it is wrong.
    """
    original = load_program(context.inputs["original"])
    if "program" not in context.inputs:
        return judge(contender, original, context)
    program, calling = load_program(context.inputs["program"]), read_calling(context.inputs["program"])
    run_original, run_program = reference(original), reference(program, calling)
    samples = read_samples(context.inputs["heldout"], input_names(original))
    inputs = [each.numpy() for each in samples.inputs]
    targets = None if samples.targets is None else samples.targets.numpy()
    batches, batch = batch_range(program), context.target.batch
    every = cases(inputs, batches, batch)
    if isinstance(calling, StateContract):
        every += shorter(every[0], calling)

    context.progress(0.0, "running the original")
    size = _within(max(batch, QUALITY_BATCH), batches)
    wanted = in_batches(run_original, inputs, size)
    widest = max((case for case in every if not case.edge), key=lambda case: case.batch)
    program_db = sqnr_db(run_original(widest.inputs), run_program(widest.inputs))
    tolerance = tolerance_of(precision_of(program), program_db)

    context.progress(0.1, "loading the artifact")
    seconds = contender.load(SECONDS)
    checks = check_cases(
        contender,
        every,
        run_program,
        tolerance,
        SECONDS,
        lambda share, doing: context.progress(0.1 + 0.6 * share, doing),
        moved=lambda inputs: moved_reference(program, calling)(inputs),
    )
    context.progress(0.7, "judging quality on held-out data")
    quality = _quality(contender, wanted, inputs, targets, size, context.seed)
    return {**quality, "checks": checks, "needed_db": tolerance.floats_db, "load_seconds": seconds}


def judge(contender: Contender, original: ExportedProgram, context: StepContext) -> dict[str, Any]:
    """Quality on held-out data of an artifact that was verified by an earlier job, maybe for another version.

    Raises:
        Refused, ContenderFailed: it does not take the original's inputs, or gives outputs of another form.
    """
    samples = read_samples(context.inputs["heldout"], input_names(original))
    inputs = [each.numpy() for each in samples.inputs]
    targets = None if samples.targets is None else samples.targets.numpy()
    size = _within(max(context.target.batch, QUALITY_BATCH), batch_range(original))
    context.progress(0.0, "running the original")
    wanted = in_batches(reference(original), inputs, size)
    context.progress(0.3, "loading the artifact")
    seconds = contender.load(SECONDS)
    context.progress(0.5, "judging quality on held-out data")
    return {**_quality(contender, wanted, inputs, targets, size, context.seed), "checks": [], "load_seconds": seconds}


def _quality(
    contender: Contender,
    wanted: Sequence[Array],
    inputs: Sequence[Array],
    targets: Array | None,
    size: int,
    seed: int,
) -> dict[str, Any]:
    given = in_batches(lambda part: contender.check(part, 1, SECONDS)[0], inputs, size)
    _require_same_form(wanted, given)
    _require_finite(wanted, given)
    found = assess(wanted, given, targets, seed)
    return {
        "quality": found.quality.model_dump(mode="json"),
        "discordant": [found.only_original, found.only_candidate],
        "mcnemar_p": found.mcnemar_p,
    }


def precision_of(program: ExportedProgram) -> Precision:
    """What the program computes in: the least exact arithmetic anywhere in it."""
    if any("quantized_decomposed.quantize_" in str(node.target) for node in program.graph.nodes):
        return "int8"
    computed = {_dtype(node) for node in program.graph.nodes if node.op == "call_function"}
    if torch.bfloat16 in computed:
        return "bfloat16"
    if torch.float16 in computed:
        return "float16"
    stored = {_dtype(node) for node in program.graph.nodes if node.op == "placeholder"}
    return "weights" if stored & _SMALL else "float32"


def _dtype(node: Node) -> torch.dtype | None:
    value = node.meta.get("val")
    return value.dtype if isinstance(value, torch.Tensor) else None


def in_batches(run: Callable[[Sequence[Array]], list[Array]], inputs: Sequence[Array], size: int) -> list[Array]:
    """Outputs for all samples, `size` at a time; the last batch is filled up and cut again.

    Raises:
        UnsupportedModel: an output's first dimension is not the batch.
    """
    count, parts = len(inputs[0]), []
    for start in range(0, count, size):
        outputs = run([rows(each, size, start) for each in inputs])
        for index, output in enumerate(outputs):
            if output.ndim == 0 or output.shape[0] != size:
                raise UnsupportedModel(
                    f"Output {index} has the shape {output.shape} at batch {size}: dimension 0 is not the batch.",
                    cure="Export a model whose outputs all have the batch as their first dimension.",
                )
        parts.append([output[: count - start] for output in outputs])
    return [np.concatenate(same) for same in zip(*parts, strict=True)]


def shorter(case: Case, calling: StateContract) -> list[Case]:
    """The beginnings of a case's windows: a program that carries state takes sequences of any length."""
    return [
        Case(f"{steps} steps", case.batch, tuple(inputs), edge=case.edge)
        for steps, inputs in shorter_windows(case.inputs, calling)
    ]


def _within(size: int, batches: tuple[int, int | None]) -> int:
    low, high = batches
    return max(low, size if high is None else min(size, high))


def _require_same_form(wanted: Sequence[Array], given: Sequence[Array]) -> None:
    forms = [[each.shape[1:] for each in outputs] for outputs in (wanted, given)]
    if forms[0] != forms[1]:
        raise Refused(f"outputs: on held-out data, samples have the shapes {forms[1]}, the original's {forms[0]}.")


def _require_finite(wanted: Sequence[Array], given: Sequence[Array]) -> None:
    for index, (one, other) in enumerate(zip(wanted, given, strict=True)):
        if np.issubdtype(one.dtype, np.floating):
            broken = int((np.isfinite(one) & ~np.isfinite(other)).sum())
            if broken:
                raise Refused(
                    f"finite: on held-out data, {broken} of {one.size} values of output {index} are NaN or infinite "
                    "where the original's are not."
                )
