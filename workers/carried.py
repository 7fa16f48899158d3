"""A program as a function of the original's inputs, however its contract says it is called: the reference of checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from workers.calling import MemoContract, StateContract
from workers.graphs.own_weights import state, with_own_weights
from workers.standalone.stateful import Stateful

__all__ = ["first_steps", "moved_reference", "reference", "shorter_windows"]

Array = np.ndarray[Any, Any]
_LENGTHS = (1, 2, 7)
_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def reference(
    program: ExportedProgram, calling: StateContract | MemoContract | None = None
) -> Callable[[Sequence[Array]], list[Array]]:
    """The program as torch runs it: the original's inputs in, the original's outputs out, as arrays.

    One that carries state is driven step by step over the whole window.
    """
    return _as_original(program.module(), calling)


def moved_reference(
    program: ExportedProgram, calling: StateContract | MemoContract | None = None
) -> Callable[[Sequence[Array]], list[Array]]:
    """As `reference`, with each float among the weights and inputs moved by about its last bit, up or down by chance.

    It shows how far rounding alone moves the outputs.
    """
    module, chance = with_own_weights(program), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in {id(each): each for each in state(module).values()}.values():
            if tensor.dtype in _FLOATS:
                tensor.copy_(_moved(tensor, chance))
    run = _as_original(module, calling)

    def run_moved(inputs: Sequence[Array]) -> list[Array]:
        tensors = [torch.from_numpy(each) for each in inputs]
        return run([(_moved(each, chance) if each.dtype in _FLOATS else each).numpy() for each in tensors])

    return run_moved


def _moved(tensor: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    up = torch.rand(tensor.shape, generator=chance) < 0.5
    return tensor + tensor * torch.where(up, 1, -1) * torch.finfo(tensor.dtype).eps


def _as_original(
    module: torch.nn.Module, calling: StateContract | MemoContract | None
) -> Callable[[Sequence[Array]], list[Array]]:
    runner: Any = _Torch(module)
    if isinstance(calling, StateContract):
        runner = Stateful(runner, calling.model_dump(mode="json"))

    def run(inputs: Sequence[Array]) -> list[Array]:
        found: list[Array] = runner.arrays(runner.run(runner.prepare([np.array(each) for each in inputs])))
        return found

    return run


def shorter_windows(inputs: Sequence[Array], calling: StateContract) -> list[tuple[int, list[Array]]]:
    """The beginnings of the windows: how many steps, and the inputs cut to them."""
    axes = [each.axis for each in calling.inputs]
    length = inputs[0].shape[axes[0]]
    return [
        (
            steps,
            [np.ascontiguousarray(np.take(each, range(steps), axis)) for each, axis in zip(inputs, axes, strict=True)],
        )
        for steps in _LENGTHS
        if steps < length
    ]


def first_steps(inputs: Sequence[torch.Tensor], calling: StateContract) -> tuple[torch.Tensor, ...]:
    """Windows as inputs of the program of one step: their first steps, and the state in front of them."""
    batch = len(inputs[0])
    steps = [tensor.narrow(each.axis, 0, 1) for tensor, each in zip(inputs, calling.inputs, strict=True)]
    states = [
        torch.zeros([batch if side is None else side for side in state.shape], dtype=getattr(torch, state.dtype))
        for state in calling.states
    ]
    return (*steps, *states)


class _Torch:
    """A program's module with arrays in and out, as `workers/standalone` has them for the runtimes."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module

    def prepare(self, arrays: Sequence[Array]) -> tuple[torch.Tensor, ...]:
        """The arrays as tensors that share their memory."""
        return tuple(torch.from_numpy(array) for array in arrays)

    def run(self, prepared: tuple[torch.Tensor, ...]) -> Any:
        """One call."""
        with torch.inference_mode():
            return self._module(*prepared)

    def arrays(self, outputs: Any) -> list[Array]:
        """The outputs in the order of the program's signature."""
        return [leaf.numpy() for leaf in pytree.tree_leaves(outputs)]
