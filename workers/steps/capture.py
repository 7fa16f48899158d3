"""The first step of a job: the uploaded archive becomes a clean, canonical program that is known to run."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.formats import inspect_model
from burnish.formats.fit import type_faults
from burnish.results import Signature, TensorSpec
from workers.graphs.functional import functionalized
from workers.graphs.inlined import inlined
from workers.graphs.stored_layers import with_stored_layers
from workers.measure.quality import sqnr_db
from workers.programs import batch_range, example_inputs, load_program, save_program, summary
from workers.steps.base import Made, Step, StepContext

__all__ = ["Capture"]

LEAST_DB = 60.0
"""What a rewritten program must reach against the upload, as any float artifact must."""


class Capture(Step):
    """Checks and loads the model, runs it on random inputs, and writes it in its canonical form.

    One that writes in place is rewritten as one that does not, so that no pass has to ask who else sees a write; one
    with regions for `torch.no_grad()` and the like as one without; one whose layers read parts of weights or weights
    that are computed, or are products, as one whose layers have weights of their own; and what nobody reads is left
    out. It must give what it gave. It is run twice at its least batch and once at the next larger one. It must give the
    tensors that its signature declares, and the same ones each time: what is random or keeps state can't be compared
    with what is made of it.
    """

    name: ClassVar[str] = "capture"

    def run(self, context: StepContext) -> Made:
        """Raises `InvalidModel` (not clean, or not loadable) or `UnsupportedModel` (it does not run as declared)."""
        context.progress(0.0, "checking the archive")
        with context.inputs["model"].open("rb") as file:
            signature = inspect_model(file)
        if found := type_faults(signature, "model"):
            raise UnsupportedModel(found[0].message, cure=found[0].cure, where=found[0].where)
        uploaded = load_program(context.inputs["model"])
        program = with_stored_layers(functionalized(inlined(uploaded)))
        context.progress(0.4, "running it on random inputs")
        low, high = batch_range(program)
        _check_runs(program, signature, low, high, context.seed)
        if program is not uploaded:
            _check_same(uploaded, program, low, context.seed)
        context.progress(0.8, "writing the program")
        parameters, flops, ops = summary(program)
        path = context.folder / "program.pt2"
        save_program(program, path)
        report = {"parameters": parameters, "flops": flops, "ops": ops, "batch": _batch_report(low, high)}
        return Made(outputs={"program": path}, report=report)


def _batch_report(low: int, high: int | None) -> dict[str, Any]:
    if low != high:
        return {"dynamic": True, "least": low, "most": high, "note": None}
    note = (
        f"The model was exported with a fixed batch of {low}: it is treated, measured and delivered at that batch only."
    )
    return {"dynamic": False, "least": low, "most": high, "note": note}


def _check_runs(program: ExportedProgram, signature: Signature, low: int, high: int | None, seed: int) -> None:
    module = program.module()
    inputs = example_inputs(program, low, seed)
    outputs = _run(module, inputs, low)
    _check_outputs(outputs, signature, low)
    again = _run(module, inputs, low)
    if not all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(outputs, again, strict=True)):
        raise UnsupportedModel(
            "It gives different outputs for the same input: it is random or keeps state.",
            cure="Call `module.eval()` before you export, and remove what is random.",
        )
    if high is None or high > low:
        _check_outputs(_run(module, example_inputs(program, low + 1, seed), low + 1), signature, low + 1)


def _check_same(uploaded: ExportedProgram, program: ExportedProgram, low: int, seed: int) -> None:
    """Holds the rewritten program against the one that was uploaded."""
    wanted = _run(uploaded.module(), example_inputs(uploaded, low, seed), low)
    given = _run(program.module(), example_inputs(program, low, seed), low)
    ratio = sqnr_db([each.numpy() for each in wanted], [each.numpy() for each in given])
    integers = [(a, b) for a, b in zip(wanted, given, strict=True) if not a.is_floating_point()]
    if ratio < LEAST_DB or not all(torch.equal(a, b) for a, b in integers):
        raise UnsupportedModel(
            "Rewritten without writes in place, and with weights stored as layers read them, it gives "
            f"other outputs ({ratio:.1f} dB, at least {LEAST_DB:.0f} dB is needed).",
            cure="Export it again without writes in place (`x = x + 1` for `x += 1`, `torch.where` for `x[mask] = y`) "
            "and with `nn.Linear` for its products.",
        )


def _run(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], batch: int) -> list[torch.Tensor]:
    try:
        with torch.no_grad():
            return [leaf for leaf in torch.utils._pytree.tree_leaves(module(*inputs)) if isinstance(leaf, torch.Tensor)]
    # What torch's operators raise on values or shapes that they can't take; anything else is a crash of ours.
    except (RuntimeError, IndexError, ValueError, TypeError, AssertionError) as error:
        raise UnsupportedModel(
            f"It fails on random inputs at batch {batch}: {type(error).__name__}: {str(error)[:500]}",
            cure="Call the exported program yourself on such inputs, and export again what runs.",
        ) from error


def _check_outputs(outputs: list[torch.Tensor], signature: Signature, batch: int) -> None:
    if len(outputs) != len(signature.outputs):
        raise UnsupportedModel(
            f"It gave {len(outputs)} tensors and declares {len(signature.outputs)}.", cure="Export it again."
        )
    for output, spec in zip(outputs, signature.outputs, strict=True):
        if not _fits(output, spec):
            raise UnsupportedModel(
                f"At batch {batch} it gave {str(output.dtype).removeprefix('torch.')} of shape {tuple(output.shape)}, "
                f"and declares {spec.dtype} of shape {spec.shape}.",
                cure="Export it again with a dynamic batch, from an example batch of 2 or more.",
                where=spec.name,
            )


def _fits(output: torch.Tensor, spec: TensorSpec) -> bool:
    return (
        str(output.dtype) == f"torch.{spec.dtype}"
        and output.dim() == len(spec.shape)
        and all(side in (None, have) for side, have in zip(spec.shape, output.shape, strict=True))
    )
