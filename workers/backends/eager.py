"""The treated program itself, as a file that stock PyTorch loads: for those who want no compiler."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from torch.export import ExportedProgram

from burnish.recipe import Backend, Target
from workers.backends.base import BackendRunner, Lowered
from workers.graphs.device import missing_device
from workers.passes.base import Samples
from workers.programs import batch_range, save_program

__all__ = ["Eager"]


class Eager(BackendRunner):
    """One `.pt2` archive of `torch.export`, run operator by operator as the static graph it is.

    It gains what the passes took away and nothing else, loads anywhere PyTorch does, and can be trained on, edited
    and lowered further. The file is the same for every device; whoever loads it moves it. Programs in
    integers compute with operators that only torchao brings, and run slower than in float32: they are refused. Half
    precision and few-bit floats are stock PyTorch.
    """

    name: ClassVar[Backend] = "eager"
    filename: ClassVar[str] = "model.pt2"
    libraries: ClassVar[tuple[str, ...]] = ("torch",)
    depends_on_isa: ClassVar[bool] = False
    automatic: ClassVar[bool] = False

    def requires(self, program: ExportedProgram, target: Target) -> Sequence[str]:
        reasons = []
        if target.device not in self.devices:
            reasons.append(f"The eager backend makes no artifact for {target.device}. Use cpu or cuda.")
        elif reason := missing_device(target.device):
            reasons.append(reason)
        if any(str(node.target).startswith("quantized_decomposed.") for node in program.graph.nodes):
            reasons.append(
                "A program quantized to integers needs torchao's operators, which stock PyTorch lacks. "
                "Use inductor, onnxruntime or openvino, or leave quantize out."
            )
        return reasons

    def lower(self, program: ExportedProgram, target: Target, example: Samples, folder: Path) -> Lowered:
        path = folder / self.filename
        save_program(program, path)
        notes = [f"The static graph, {len(program.graph.nodes)} nodes."]
        least, most = batch_range(program)
        if least == most:
            notes.append(f"The export fixed the batch: {least} samples per call, and no other number.")
        return Lowered(path, tuple(notes))

    def usage(self, inputs: Sequence[str]) -> str:
        return (
            "import torch\n"
            f'program = torch.export.load("{self.filename}")\n'
            '# on a GPU: program = torch.export.passes.move_to_device_pass(program, "cuda")\n'
            "model = program.module()\n"
            "with torch.inference_mode():\n"
            f"    outputs = model({', '.join(inputs)})  # tensors in, tensors out\n"
        )
