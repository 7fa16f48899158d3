"""A bounded, exact memo of repeated inputs in front of a model. Needs numpy and the model's runtime alone.

Imports nothing of Burnish.

    outputs = model([first_input, second_input])   # numpy arrays in, list of numpy arrays out
    model.hits, model.misses, model.bytes

Two inputs are the same if their types, shapes and bytes are: the bytes themselves are the key, so nothing collides.
What was used least recently goes when inputs and outputs together exceed `max_bytes`. Many threads may call it at once.
"""

from __future__ import annotations

import statistics
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy

Array = numpy.ndarray[Any, Any]
Key = tuple[tuple[str, tuple[int, ...], bytes], ...]
_TIMED_CALLS = 50
_TIMED_SECONDS = 1.0


def wrap(runner: Any, contract: Mapping[str, Any]) -> Memo:
    """The runner of a model, with a memo in front of it."""
    return Memo(runner, contract["max_bytes"])


class Memo:
    """A model that answers an input it has seen from memory."""

    def __init__(self, runner: Any, max_bytes: int) -> None:
        self.hits = self.misses = self.bytes = 0
        self.max_bytes = max_bytes
        self._runner = runner
        self._kept: OrderedDict[Key, list[Array]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """The model's outputs. They are the caller's own: changing them changes no later answer."""
        key = _key(inputs)
        found = self._find(key)
        if found is None:
            found = self._compute(inputs)
            self._keep(key, found)
        return found

    def prepare(self, arrays: Sequence[Array]) -> list[Array]:
        """Nothing is done beforehand: what a call costs includes the handing over."""
        return list(arrays)

    def run(self, prepared: Sequence[Array]) -> list[Array]:
        """One call."""
        return self(prepared)

    def timed(self, prepared: Sequence[Array]) -> list[Array]:
        """One call of an input that was not seen before: what a call costs where the memo does not help."""
        self.forget()
        return self(prepared)

    def arrays(self, outputs: list[Array]) -> list[Array]:
        """The outputs as numpy arrays, which they are."""
        return outputs

    def forget(self) -> None:
        """Empties the memo."""
        with self._lock:
            self._kept.clear()
            self.bytes = 0

    def figures(self, prepared: Sequence[Array]) -> dict[str, float]:
        """What a memo costs and saves, in seconds: medians of many calls.

        Returns:
            `call_seconds`, the model alone; `hit_seconds`, an answer from memory; `overhead_seconds`, what a call that
            is not in memory costs more; and `break_even_hit_rate`, the share of repeated inputs from which the memo
            pays: overhead / (call + overhead - hit). At 1 or more it never does.
        """
        key, outputs = _key(prepared), self._compute(prepared)

        def miss() -> None:
            self.forget()
            self._find(_key(prepared))
            self._keep(key, outputs)

        call, overhead = _seconds(lambda: self._compute(prepared)), _seconds(miss)
        self(prepared)
        hit = _seconds(lambda: self(prepared))
        saved = call + overhead - hit
        return {
            "call_seconds": call,
            "hit_seconds": hit,
            "overhead_seconds": overhead,
            "break_even_hit_rate": overhead / saved if saved > overhead else 1.0,
        }

    def _find(self, key: Key) -> list[Array] | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                self.misses += 1
                return None
            self._kept.move_to_end(key)
            self.hits += 1
        return [array.copy() for array in found]

    def _compute(self, inputs: Sequence[Array]) -> list[Array]:
        runner = self._runner
        blocks = [numpy.asarray(array, order="C") for array in inputs]  # compiled code takes nothing else
        found: list[Array] = runner.arrays(runner.run(runner.prepare(blocks)))
        return found

    def _keep(self, key: Key, outputs: Sequence[Array]) -> None:
        size = _size(key, outputs)
        if size > self.max_bytes:
            return
        copies = [numpy.array(array) for array in outputs]
        with self._lock:
            if key not in self._kept:
                self._kept[key] = copies
                self.bytes += size
            while self.bytes > self.max_bytes:
                self.bytes -= _size(*self._kept.popitem(last=False))


def _key(inputs: Sequence[Array]) -> Key:
    return tuple((array.dtype.str, array.shape, array.tobytes()) for array in inputs)


def _size(key: Key, outputs: Sequence[Array]) -> int:
    return sum(len(data) for _, _, data in key) + sum(array.nbytes for array in outputs)


def _seconds(work: Callable[[], object]) -> float:
    """Median seconds of the work, after one call that does not count."""
    work()
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < 3 or (len(seconds) < _TIMED_CALLS and time.perf_counter() - began < _TIMED_SECONDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
