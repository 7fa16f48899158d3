"""Loads and runs an ExecuTorch program. Imports nothing of Burnish: it is proof that the file runs without it."""

from __future__ import annotations

from typing import Any


class Runner:
    """A method of a program, with numpy arrays in and out."""

    def __init__(self, torch: Any, method: Any) -> None:
        self._torch = torch
        self._method = method

    def prepare(self, arrays: list[Any]) -> list[Any]:
        """The arrays as tensors that share their memory; done once, outside the timing."""
        return [self._torch.from_numpy(array) for array in arrays]

    def run(self, prepared: list[Any]) -> Any:
        """One call."""
        return self._method.execute(prepared)

    def arrays(self, outputs: Any) -> list[Any]:
        """The outputs as numpy arrays."""
        return [tensor.numpy() for tensor in outputs]


def load(path: str, threads: int) -> Runner:
    """Loads the program at `path`. XNNPACK's pool has as many threads as the process has cores when it is made."""
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    if hasattr(portable_lib, "_unsafe_reset_threadpool"):
        portable_lib._unsafe_reset_threadpool(threads)
    return Runner(torch, Runtime.get().load_program(path).load_method("forward"))
