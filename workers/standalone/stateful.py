"""Calls a model of one step that carries its state. Needs numpy and the model's runtime. Imports nothing of Burnish.

    state = model.start(batch=1)
    for token in tokens:
        outputs, state = model.step([token], state)   # arrays of length 1 along the axis of the steps

A state may be kept, copied and gone back to: it is a list of arrays, and a step changes none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

Array = numpy.ndarray[Any, Any]


def wrap(runner: Any, contract: Mapping[str, Any]) -> Stateful:
    """The runner of a step's program as a model that carries state."""
    return Stateful(runner, contract)


class Stateful:
    """A model of one step. Contract: names, shapes and axes of inputs, state and outputs."""

    def __init__(self, runner: Any, contract: Mapping[str, Any]) -> None:
        self.contract = contract
        self._runner = runner
        self._axes = [each["axis"] for each in contract["inputs"]]
        self._count = len(contract["outputs"])

    def start(self, batch: int) -> list[Array]:
        """The state in front of the first step: zeros."""
        return [
            numpy.zeros([batch if side is None else side for side in each["shape"]], each["dtype"])
            for each in self.contract["states"]
        ]

    def step(self, inputs: Sequence[Array], state: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """One step: its outputs, and the state to give to the next one."""
        runner = self._runner
        # A slice of a window is no single block of memory, and compiled code takes nothing else.
        blocks = [numpy.asarray(array, order="C") for array in (*inputs, *state)]
        found = runner.arrays(runner.run(runner.prepare(blocks)))
        return found[: self._count], found[self._count :]

    def prepare(self, arrays: Sequence[Array]) -> dict[str, Any]:
        """Runs all steps of a window but the last. What `run` then does is what one more step costs.

        Raises:
            ValueError: the window has no steps, or more than the model can hold.
        """
        length, most = arrays[0].shape[self._axes[0]], self.contract["most_steps"]
        if length < 1 or (most is not None and length > most):
            raise ValueError(f"a sequence of {length} steps, and it must have 1 to {most or 'any number of'}")
        state, past = self.start(arrays[0].shape[0]), []
        for number in range(length - 1):
            outputs, state = self.step(self._at(arrays, number), state)
            past.append(outputs)
        return {"past": past, "inputs": self._at(arrays, length - 1), "state": state}

    def run(self, prepared: Mapping[str, Any]) -> list[list[Array]]:
        """The last step, with the outputs of those before it. Running it again is running that step again."""
        outputs, _ = self.step(prepared["inputs"], prepared["state"])
        return [*prepared["past"], outputs]

    def arrays(self, outputs: Sequence[Sequence[Array]]) -> list[Array]:
        """The outputs for the whole window, as the model gives them that takes windows."""
        return [
            outputs[-1][index]
            if each["axis"] is None
            else numpy.concatenate([step[index] for step in outputs], each["axis"])
            for index, each in enumerate(self.contract["outputs"])
        ]

    def _at(self, arrays: Sequence[Array], number: int) -> list[Array]:
        return [
            numpy.ascontiguousarray(numpy.take(array, [number], axis))
            for array, axis in zip(arrays, self._axes, strict=True)
        ]
