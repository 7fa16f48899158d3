"""Loads a `torch.export` program and calls it as it is: the baseline `eager`. Imports nothing of ours."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree


def load(path: str, threads: int) -> Eager:
    """The program's module, called in inference mode on `threads` threads."""
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return Eager(read_program(path).module())


def read_program(path: str) -> torch.export.ExportedProgram:
    """The program at `path`; one that was quantized needs the operators of torchao, where that is installed."""
    with zipfile.ZipFile(path) as archive:
        graph = next(name for name in archive.namelist() if name.endswith("/models/model.json"))
        if b"torch.ops.quantized_decomposed." in archive.read(graph):
            import torchao.quantization.pt2e  # noqa: F401  # registers its operators
    return torch.export.load(path)


class Eager:
    """Runs a module on tensors."""

    def __init__(self, module: Any) -> None:
        self.module = module
        # Entered once and kept for the life of the process: entering costs microseconds that are not the model's.
        self.mode = torch.inference_mode()
        self.mode.__enter__()

    def prepare(self, arrays: Sequence[Any]) -> tuple[torch.Tensor, ...]:
        """Numpy arrays as tensors."""
        return tuple(torch.from_numpy(array) for array in arrays)

    def run(self, prepared: tuple[torch.Tensor, ...]) -> Any:
        """One call."""
        return self.module(*prepared)

    def arrays(self, outputs: Any) -> list[Any]:
        """The outputs as numpy arrays, in the order of the program's signature."""
        return [leaf.numpy() for leaf in pytree.tree_leaves(outputs)]
