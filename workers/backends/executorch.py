"""Lowering to an ExecuTorch program for phones, with the kernels of XNNPACK."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram

from burnish.errors import UnsupportedModel
from burnish.recipe import Backend, Target
from workers.backends.base import BackendRunner, Lowered
from workers.graphs.free_batch import free_batch
from workers.passes.base import Samples
from workers.programs import batch_range, load_program, save_program

__all__ = ["ExecuTorch"]


class ExecuTorch(BackendRunner):
    """One `.pte` file that ExecuTorch's runtime runs on Android, iOS and this processor.

    What XNNPACK has kernels for runs there; the rest runs on ExecuTorch's portable operators, which are slow, and the
    report counts both. Memory is planned for the largest batch of the program, so an export should not allow more than
    is needed. Figures measured here are those of this processor and not of a phone.
    """

    name: ClassVar[Backend] = "executorch"
    filename: ClassVar[str] = "model.pte"
    libraries: ClassVar[tuple[str, ...]] = ("torch", "torchao", "executorch")
    depends_on_isa: ClassVar[bool] = False
    automatic: ClassVar[bool] = False

    def requires(self, program: ExportedProgram, target: Target) -> Sequence[str]:
        reasons = []
        if target.device not in self.devices:
            reasons.append(f"ExecuTorch is set up here for cpu, not for {target.device}. Use the inductor backend.")
        if importlib.util.find_spec("executorch") is None:
            reasons.append("This worker has no ExecuTorch. Install it with `pip install 'burnish[phone]'`.")
        if any(str(node.target).startswith("quantized_decomposed.") for node in program.graph.nodes):
            reasons.append(
                "Quantized programs are not in the form that XNNPACK takes (signed inputs). Leave quantize out, or "
                "use the onnxruntime backend, which runs on phones, too."
            )
        if batch_range(program)[1] is None:
            reasons.append(
                "The batch has no upper bound, and ExecuTorch plans memory for the largest. "
                "Export with `Dim('batch', min=1, max=…)`."
            )
        return reasons

    def lower(self, program: ExportedProgram, target: Target, example: Samples, folder: Path) -> Lowered:
        own = _own(program, folder)
        content, delegated, portable = _lowered(own)
        if batch_range(own) != batch_range(program):
            raise UnsupportedModel(
                "ExecuTorch binds the batch of this program to the one it was exported with.",
                cure="Export it for the one batch it is called with, or use the onnxruntime backend.",
            )
        path = folder / self.filename
        path.write_bytes(content)
        notes = [f"XNNPACK runs {delegated} part(s) of the graph; portable operators run {portable} operation(s)."]
        least, most = batch_range(program)
        if least == most:
            notes.append(f"The export fixed the batch: {least} samples per call, and no other number.")
        else:
            notes.append(f"Memory is planned for the largest batch, {most}.")
        return Lowered(path, tuple(notes))

    def usage(self, inputs: Sequence[str]) -> str:
        return (
            "import torch\n"
            "from executorch.runtime import Runtime\n"
            f'model = Runtime.get().load_program("{self.filename}").load_method("forward")\n'
            f"outputs = model.execute([{', '.join(inputs)}])  # contiguous tensors in, list of tensors out\n"
        )


def _own(program: ExportedProgram, folder: Path) -> ExportedProgram:
    """A copy by way of a file: ExecuTorch narrows the symbols of what it is given, which a copy in memory shares."""
    path = folder / "program.pt2"
    save_program(program, path)
    try:
        return load_program(path)
    finally:
        path.unlink()


def _lowered(program: ExportedProgram) -> tuple[bytes, int, int]:
    """The file, how many parts of the graph XNNPACK took, and how many operations it left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch uses what torch deprecated
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            with torch.no_grad(), free_batch():
                edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
                made = edge.to_executorch()
        # A boundary: the compiler's faults come as whatever exception its many parts run into.
        except Exception as error:
            raise UnsupportedModel(
                f"ExecuTorch can't lower this program: {type(error).__name__}: {_first_line(error)}",
                cure="Use the onnxruntime backend.",
            ) from error
    targets = [str(node.target) for node in edge.exported_program().graph.nodes if node.op == "call_function"]
    delegated = sum("executorch_call_delegate" in target for target in targets)
    portable = sum("executorch_call_delegate" not in target and "getitem" not in target for target in targets)
    return _bytes(made), delegated, portable


def _bytes(made: Any) -> bytes:
    return bytes(made.buffer)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")[:500]
