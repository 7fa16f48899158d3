"""Loads and runs an AOTInductor package. Imports nothing of Burnish: it is proof that the file runs without it."""

from __future__ import annotations

import os
from typing import Any


class Runner:
    """A compiled package, with numpy arrays in and out."""

    def __init__(self, torch: Any, model: Any, device: str = "cpu") -> None:
        self._torch = torch
        self._device = device
        self._model = model

    def prepare(self, arrays: list[Any]) -> list[Any]:
        """The arrays as tensors on the device (on the processor they share memory); done once, outside the timing."""
        return [self._torch.from_numpy(array).to(self._device) for array in arrays]

    def run(self, prepared: list[Any]) -> Any:
        """One call, to the end of its work on the device."""
        with self._torch.inference_mode():
            outputs = self._model(*prepared)
        if self._device != "cpu":
            self._torch.accelerator.synchronize()
        return outputs

    def arrays(self, outputs: Any) -> list[Any]:
        """The outputs as numpy arrays, in the order of the program's signature."""
        return [tensor.cpu().numpy() for tensor in self._torch.utils._pytree.tree_leaves(outputs)]


def load(path: str, threads: int, device: str = "cpu") -> Runner:
    """Loads the package at `path` for `threads` threads, on the device it was made for; wrong shapes raise."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
    import torch
    import torch._inductor

    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32, as on the processor
    return Runner(torch, torch._inductor.aoti_load_package(path), device)
