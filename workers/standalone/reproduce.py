"""The check that an artifact gives the same outputs again, run beside the artifact. Imports nothing of ours.

Compilers give packages that are right once and wrong the second time, because they overwrite their input or their own
constants. So the artifact is called several times on one input, and after each call the outputs are compared with the
first call's and the input with a copy of itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

Array = numpy.ndarray[Any, Any]


def repeat(runner: Any, arrays: Sequence[Array], calls: int) -> tuple[list[Array], dict[str, Any]]:
    """Calls `runner` `calls` times on the same prepared input.

    Returns:
        the first call's outputs as arrays, and `{"calls": [{"identical", "sqnr_db", "inputs_unchanged"}, …]}` with
        one entry per call: `sqnr_db` is the worst output's, `None` where the outputs are identical to the first
        call's or have no number.
    """
    before = [array.copy() for array in arrays]
    prepared = runner.prepare(arrays)
    held = [_bytes(view) for view in views(prepared)]
    first: list[Array] = []
    entries: list[dict[str, Any]] = []
    for _ in range(calls):
        outputs = [numpy.array(output, copy=True) for output in runner.arrays(runner.run(prepared))]
        first = first or outputs
        unchanged = all(_same(a, b) for a, b in zip(arrays, before, strict=True))
        unchanged = unchanged and [_bytes(view) for view in views(prepared)] == held
        identical = len(outputs) == len(first) and all(_same(a, b) for a, b in zip(outputs, first, strict=True))
        entries.append(
            {
                "identical": identical,
                "sqnr_db": None if identical else _worst_sqnr(first, outputs),
                "inputs_unchanged": unchanged,
            }
        )
    return first, {"calls": entries}


def views(prepared: Any) -> list[Array]:
    """The arrays that can be seen in what the loader prepared: numpy arrays, torch tensors, and containers of them."""
    if isinstance(prepared, numpy.ndarray):
        return [prepared]
    if isinstance(prepared, dict):
        return [view for value in prepared.values() for view in views(value)]
    if isinstance(prepared, (list, tuple)):
        return [view for value in prepared for view in views(value)]
    if hasattr(prepared, "cpu"):  # a tensor, perhaps on another device
        prepared = prepared.cpu()
    return [prepared.numpy()] if hasattr(prepared, "numpy") else []


def _bytes(array: Array) -> bytes:
    return numpy.ascontiguousarray(array).tobytes()


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and _bytes(one) == _bytes(other)


def _worst_sqnr(first: Sequence[Array], outputs: Sequence[Array]) -> float | None:
    """The least signal-to-noise ratio over the outputs, in dB; `None` if it has no finite value."""
    if len(first) != len(outputs):
        return None
    values = []
    for one, other in zip(first, outputs, strict=True):
        if one.shape != other.shape:
            return None
        signal = float(numpy.square(one.astype(numpy.float64)).sum())
        noise = float(numpy.square(one.astype(numpy.float64) - other).sum())
        if noise > 0 or not math.isfinite(noise):
            if signal == 0 or not math.isfinite(noise):
                return None
            values.append(10 * math.log10(signal / noise))
    return min(values, default=None)
