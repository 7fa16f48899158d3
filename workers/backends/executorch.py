"""Lowering to an ExecuTorch program for phones, with the kernels of XNNPACK."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from burnish.errors import UnsupportedModel
from burnish.recipe import Backend, Target
from workers.backends.base import BackendRunner, Lowered
from workers.graphs.free_batch import free_batch
from workers.graphs.xnnpack import for_xnnpack, xnnpack_refusal
from workers.passes.base import Samples
from workers.programs import batch_range, load_program, save_program, tracing_inputs

__all__ = ["ExecuTorch"]

_LAYERS = frozenset({"aten.convolution.default", "aten.linear.default", "aten.addmm.default", "aten.mm.default"})
_INTEGERS = frozenset(
    {
        "quantized_decomposed.dequantize_per_channel.default",
        "quantized_decomposed.dequantize_per_channel_group.default",
    }
)


class ExecuTorch(BackendRunner):
    """One `.pte` file that ExecuTorch's runtime runs on Android, iOS and this processor.

    What XNNPACK has kernels for runs there; the rest runs on ExecuTorch's portable operators, which are slow, and the
    report counts both. A quantized program is rewritten so that XNNPACK finds its int8 kernels
    (`workers/graphs/xnnpack.py`), and the report counts the layers that it did find one for. Memory is planned for the
    largest batch of the program, so an export should not allow more than is needed. Figures measured here are those of
    this processor and not of a phone.
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
        if (reason := xnnpack_refusal(program)) is not None:
            reasons.append(
                f"ExecuTorch would widen every weight of few bits to float32, and gain nothing: {reason}. Use the "
                "onnxruntime backend, which runs on phones, too."
            )
        if batch_range(program)[1] is None:
            reasons.append(
                "The batch has no upper bound, and ExecuTorch plans memory for the largest. "
                "Export with `Dim('batch', min=1, max=…)`."
            )
        return reasons

    def lower(self, program: ExportedProgram, target: Target, example: Samples, folder: Path) -> Lowered:
        made = for_xnnpack(program, tracing_inputs(program))
        own = _own(made.program, folder)
        content, taken = _lowered(own)
        if batch_range(own) != batch_range(program):
            raise UnsupportedModel(
                "ExecuTorch binds the batch of this program to the one it was exported with.",
                cure="Export it for the one batch it is called with, or use the onnxruntime backend.",
            )
        path = folder / self.filename
        path.write_bytes(content)
        notes = [
            f"XNNPACK runs {taken.parts} part(s) of the graph; portable operators run {taken.portable} operation(s)."
        ]
        if made.program is not program:
            notes.append(f"XNNPACK computes {taken.integer} layer(s) in int8 and {taken.floating} in float.")
        notes += made.notes
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


@dataclass(frozen=True)
class _Taken:
    """What XNNPACK took of a program."""

    parts: int
    """Connected pieces of the graph."""
    portable: int
    """Operations that it left."""
    integer: int
    """Convolutions and products with a matrix, on kernels for int8."""
    floating: int
    """The same, on kernels for float."""


def _lowered(program: ExportedProgram) -> tuple[bytes, _Taken]:
    """The file, and what XNNPACK took of the program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch uses what torch deprecated
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        try:
            with torch.no_grad(), free_batch():
                edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
                taken = _taken(edge.exported_program().graph_module)
                made = edge.to_executorch()
        # A boundary: the compiler's faults come as whatever exception its many parts run into.
        except Exception as error:
            raise UnsupportedModel(
                f"ExecuTorch can't lower this program: {type(error).__name__}: {_first_line(error)}",
                cure="Use the onnxruntime backend.",
            ) from error
    return bytes(made.buffer), taken


def _taken(graph_module: Any) -> _Taken:
    """Counted before memory is planned, which adds operations of its own."""
    from executorch.exir.dialects.edge._ops import EdgeOpOverload
    from executorch.exir.lowered_backend_module import get_lowered_backend_modules

    parts = get_lowered_backend_modules(graph_module)
    layers = [node for part in parts for node in part.original_module.graph.nodes if _name(node) in _LAYERS]
    integer = sum(any(_name(source) in _INTEGERS for source in node.all_input_nodes) for node in layers)
    portable = sum(isinstance(node.target, EdgeOpOverload) for node in graph_module.graph.nodes)
    return _Taken(len(parts), portable, integer, len(layers) - integer)


def _name(node: Node) -> str:
    return str(getattr(node.target, "__name__", ""))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")[:500]
