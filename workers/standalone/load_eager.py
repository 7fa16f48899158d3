"""Loads a `torch.export` program and calls it as it is: the baseline `eager`. Imports nothing of ours."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree


def load(path: str, threads: int, device: str = "cpu") -> Eager:
    """The program's module on `device`, called in inference mode on `threads` threads."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return Eager(read_program(path, device).module(), device)


def read_program(path: str, device: str = "cpu") -> torch.export.ExportedProgram:
    """The program at `path`, on `device`; a quantized one needs the operators of torchao, where that is installed."""
    with zipfile.ZipFile(path) as archive:
        graph = next(name for name in archive.namelist() if name.endswith("/models/model.json"))
        if b"torch.ops.quantized_decomposed." in archive.read(graph):
            import torchao.quantization.pt2e  # noqa: F401  # registers its operators
    program = torch.export.load(path)
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        torch.backends.cudnn.allow_tf32 = False  # float32 means float32, as on the processor
        program = move_to_device_pass(program, device)
    return program


class Eager:
    """Runs a module on tensors."""

    def __init__(self, module: Any, device: str = "cpu") -> None:
        self.module = module
        self.device = device
        # Entered once and kept for the life of the process: entering costs microseconds that are not the model's.
        self.mode = torch.inference_mode()
        self.mode.__enter__()

    def prepare(self, arrays: Sequence[Any]) -> tuple[torch.Tensor, ...]:
        """Numpy arrays as tensors on the device; on the processor they share the arrays' memory."""
        return tuple(torch.from_numpy(array).to(self.device) for array in arrays)

    def run(self, prepared: tuple[torch.Tensor, ...]) -> Any:
        """One call, to the end of its work on the device."""
        outputs = self.module(*prepared)
        if self.device != "cpu":
            torch.accelerator.synchronize()
        return outputs

    def arrays(self, outputs: Any) -> list[Any]:
        """The outputs as numpy arrays, in the order of the program's signature."""
        return [leaf.cpu().numpy() for leaf in pytree.tree_leaves(outputs)]
