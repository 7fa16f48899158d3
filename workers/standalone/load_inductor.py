"""Loads and runs an AOTInductor package. Imports nothing of Burnish: it is proof that the file runs without it."""

from __future__ import annotations

import os
from typing import Any


class Runner:
    """A compiled package, with numpy arrays in and out."""

    def __init__(self, torch: Any, model: Any) -> None:
        self._torch = torch
        self._model = model

    def prepare(self, arrays: list[Any]) -> list[Any]:
        """The arrays as tensors that share their memory; done once, outside the timing."""
        return [self._torch.from_numpy(array) for array in arrays]

    def run(self, prepared: list[Any]) -> Any:
        """One call."""
        with self._torch.inference_mode():
            return self._model(*prepared)

    def arrays(self, outputs: Any) -> list[Any]:
        """The outputs as numpy arrays."""
        tensors = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return [tensor.numpy() for tensor in tensors]


def load(path: str, threads: int) -> Runner:
    """Loads the package at `path` for `threads` threads; inputs of a wrong shape raise."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
    import torch
    import torch._inductor

    torch.set_num_threads(threads)
    return Runner(torch, torch._inductor.aoti_load_package(path))
