"""How a dataset's arrays are named: which are inputs, in which order, and which holds the labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from burnish.errors import InvalidDataset

__all__ = ["TARGETS", "arrange"]

TARGETS = "targets"
"""Name of the array of labels."""
_NUMBERED = re.compile(r"inputs\.(0|[1-9][0-9]{0,3})")
_CURE = "Name the arrays `inputs` (or `inputs.0`, `inputs.1`, …, or as the model's inputs), and the labels `targets`."


def arrange(arrays: Collection[str], inputs: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the arrays that are inputs, in the order of the program's inputs.

    Args:
        arrays: names of all arrays in the dataset.
        inputs: the program's input names. Without them, arrays with names of their own stand in alphabetic order.

    Raises:
        InvalidDataset: no input, numbered inputs with a gap, two ways of naming mixed, or names that don't tell which
            array is which of several inputs.
    """
    names = [name for name in arrays if name != TARGETS]
    if not names:
        raise InvalidDataset("There are no inputs in it.", cure=_CURE)
    if inputs and set(names) == set(inputs):
        return tuple(inputs)
    if names == ["inputs"]:
        return ("inputs",)
    numbers = sorted(int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name)))
    if numbers and len(numbers) == len(names):
        if numbers != list(range(len(numbers))):
            raise InvalidDataset(f"The inputs are numbered {numbers}, with a gap.", cure="Number them 0, 1, 2, …")
        return tuple(f"inputs.{number}" for number in numbers)
    if numbers or "inputs" in names:
        raise InvalidDataset(f"The arrays {sorted(names)} mix two ways of naming.", cure=_CURE)
    if len(inputs) > 1:
        raise InvalidDataset(
            f"Its arrays are called {', '.join(sorted(names))}, and the model takes {', '.join(inputs)}.",
            cure="Send one array per input of the model, under its name, or number them `inputs.0`, `inputs.1`, … in "
            "this order.",
        )
    return tuple(sorted(names))
