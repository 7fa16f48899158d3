"""The checks that an artifact gives its program's outputs again, wherever and however often it is called.

1. Batch sizes 1, 2, 3, 7, the target's and the largest (up to `LARGEST`), as far as the program takes them, on
   held-out samples.
2. Edge values at the target's batch: zeros, `LARGE` times the largest magnitude in the data with either sign, and for
   integers the least and the greatest value in the data at each place (others might be no valid index, or no mask:
   one that leaves nothing to attend to).
3. Every case is called `CALLS` times on the same input: after each call the input must be what it was, bit for bit,
   and the outputs those of the first call, bit for bit or within `REPEAT_DB`.
4. Outputs must have the program's shapes and types. Floats must reach `Tolerance.floats_db` against the program run
   by torch; noise is held against the case's signal or the signal on ordinary data, whichever is larger, so that a
   case whose right answer is zero can be judged. Elements that are not finite in the program's own outputs are left
   out. Of integers (class numbers, say), a share of `Tolerance.integers`, or one element, may differ in ordinary
   cases; at edges ties fall anywhere, so there only shape and type count.
5. A case that misses `Tolerance.floats_db` is held against the program's own noise: what becomes of its outputs when
   its weights and inputs move by their last bit. Deep networks far from their data make any rounding as large as the
   output (EfficientNet at ten times its largest input: 10 dB), and no two engines round alike. The artifact's noise may
   be `OWN_NOISE_DB` above that, but in ordinary cases must reach `LEAST_DB`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from workers.measure.contender import ContenderFailed

__all__ = ["Case", "Precision", "Refused", "Tolerance", "cases", "check_cases", "tolerance_of"]

Array = np.ndarray[Any, Any]
Run = Callable[[Sequence[Array]], list[Array]]
Precision = Literal["float32", "weights", "bfloat16", "float16", "int8"]
"""What a program computes in; `weights`: float32, from weights of few bits."""
BATCHES = (7, 1, 2, 3)
LARGEST = 64
LARGE = 10.0
CALLS = 3
REPEAT_DB = 80.0
OWN_NOISE_DB = 12.0
"""Four times the noise: an engine rounds at every operation, not only at the ends. Measured on six networks: 5 dB."""
LEAST_DB = 30.0


class Refused(Exception):
    """The artifact is wrong. The text names the check, the batch size, the call and the figures."""


class Checked(Protocol):
    """What the checks need of a contender."""

    def check(self, inputs: Sequence[Array], calls: int, limit: float) -> tuple[list[Array], list[Mapping[str, Any]]]:
        """Outputs of the first call, and one entry per call as `standalone/reproduce.py` writes them."""


@dataclass(frozen=True)
class Case:
    """One input to try."""

    name: str
    batch: int
    inputs: tuple[Array, ...]
    edge: bool = False

    def __str__(self) -> str:
        return f"batch {self.batch}" if self.name == "ordinary" else f"{self.name} at batch {self.batch}"


@dataclass(frozen=True)
class Tolerance:
    """How near the artifact must come to the program it was made from."""

    floats_db: float
    integers: float


def tolerance_of(precision: Precision, program_db: float) -> Tolerance:
    """What is asked of an artifact, by what its program computes in.

    - `float32`: 60 dB. Compilers here reach 104 dB and more; a wrong one is below 20.
    - `weights` in few bits, float32 arithmetic: 50 dB. Some runtimes keep the scales in half precision, which leaves 73
      dB, and a hundred layers add up to 20 dB of noise.
    - `bfloat16`: 30 dB. One rounding leaves 55 dB, a hundred add up to 20 dB, and reference and artifact each have
      their own; `float16` has three bits more: 48 dB. Where the program itself is further from the original than that
      (it may have been pruned, too), 6 dB under its ratio, 3 for two independent roundings and 3 for the few samples,
      but at least 12 and 30 dB.
    - `int8`: 20 dB. Where rounding falls the other way in one engine, one value moves by a whole step. A program whose
      own noise is larger can't be held to that, so the limit is 3 dB (two independent roundings) under its ratio to the
      original, but at least 8 dB; whether such a model is any good is for the quality limit to say.

    Args:
        program_db: ratio of the program's outputs to the original's on held-out data, in dB.
    """
    if precision == "int8":
        return Tolerance(floats_db=min(20.0, max(8.0, program_db - 3.0)), integers=0.1)
    if precision == "bfloat16":
        return Tolerance(floats_db=min(30.0, max(12.0, program_db - 6.0)), integers=0.05)
    if precision == "float16":
        return Tolerance(floats_db=min(48.0, max(30.0, program_db - 6.0)), integers=0.02)
    return Tolerance(floats_db=50.0 if precision == "weights" else 60.0, integers=0.01)


def cases(heldout: Sequence[Array], batches: tuple[int, int | None], batch: int) -> list[Case]:
    """Rules 1 and 2.

    Args:
        heldout: inputs of shape (samples, …); samples are repeated where there are too few.
        batches: least and largest batch that the program takes.
        batch: the target's.
    """
    low, high = batches
    largest = LARGEST if high is None else min(high, LARGEST)
    sizes = [size for size in dict.fromkeys((*BATCHES, batch, largest)) if low <= size <= (high or size)]
    ordinary = [Case("ordinary", size, tuple(rows(each, size) for each in heldout)) for size in sizes or [low]]
    at = batch if low <= batch <= (high or batch) else low
    return ordinary + [
        Case(name, at, tuple(edge(rows(each, at), each) for each in heldout), edge=True)
        for name, edge in _edges(heldout).items()
    ]


def rows(array: Array, count: int, start: int = 0) -> Array:
    """`count` samples from `start` on, beginning anew after the last."""
    taken: Array = np.ascontiguousarray(np.take(array, np.arange(start, start + count), axis=0, mode="wrap"))
    return taken


def check_cases(
    contender: Checked,
    every: Sequence[Case],
    program: Run,
    tolerance: Tolerance,
    limit: float,
    progress: Callable[[float, str], None] = lambda share, doing: None,
    moved: Run | None = None,
) -> list[dict[str, Any]]:
    """Rules 3 to 5, for every case.

    Args:
        program: runs the program that the artifact was made from.
        limit: seconds for one case.
        moved: runs it with weights and inputs moved by their last bit; without it rule 5 is none.

    Returns:
        one entry per case, for the report.

    Raises:
        Refused: at the first thing that is wrong, a crash included.
    """
    references = [program(case.inputs) for case in every]
    typical = _typical([reference for case, reference in zip(every, references, strict=True) if not case.edge])
    entries = []
    for index, (case, reference) in enumerate(zip(every, references, strict=True)):
        progress(index / len(every), f"checking {case}")
        try:
            outputs, calls = contender.check(case.inputs, CALLS, limit)
        except ContenderFailed as failure:
            raise Refused(f"run: at {case}, {failure}.") from failure
        worst = _compare(case, reference, outputs, typical, tolerance, moved)
        _repeats(case, calls)
        entries.append({"check": str(case), "batch": case.batch, "calls": len(calls), "sqnr_db": worst})
    return entries


def _repeats(case: Case, calls: Sequence[Mapping[str, Any]]) -> None:
    for number, call in enumerate(calls, start=1):
        if not call["inputs_unchanged"]:
            raise Refused(f"input: at {case}, call {number} overwrote its input.")
        if not call["identical"] and (call["sqnr_db"] is None or call["sqnr_db"] < REPEAT_DB):
            found = "no comparable numbers" if call["sqnr_db"] is None else f"{call['sqnr_db']:.1f} dB"
            raise Refused(
                f"repeat: at {case}, call {number} gave other outputs than call 1 on the same input "
                f"({found}, at least {REPEAT_DB:.0f} dB is needed)."
            )


def _compare(
    case: Case,
    reference: Sequence[Array],
    outputs: Sequence[Array],
    typical: Sequence[float],
    tolerance: Tolerance,
    moved: Run | None,
) -> float | None:
    """Rules 4 and 5. Returns the worst float output's ratio in dB; `None` if all are equal."""
    if len(reference) != len(outputs):
        raise Refused(f"outputs: at {case}, call 1 gave {len(outputs)} outputs, the program gives {len(reference)}.")
    worst: float | None = None
    for index, (one, other, power) in enumerate(zip(reference, outputs, typical, strict=True)):
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            raise Refused(
                f"shape: at {case}, output {index} of call 1 is {other.dtype} {other.shape}, "
                f"the program's is {one.dtype} {one.shape}."
            )
        if not np.issubdtype(one.dtype, np.floating):
            _compare_integers(case, index, one, other, tolerance)
            continue
        ratio = _ratio_db(one, other, power)
        if ratio is not None and not ratio >= tolerance.floats_db:
            own = None if moved is None else _ratio_db(one, moved(case.inputs)[index], power)
            needed = tolerance.floats_db if own is None else _needed_db(case, own, tolerance)
            if not ratio >= needed:
                raise Refused(
                    f"agreement: at {case}, output {index} of call 1 differs from the program it was made from "
                    f"({ratio:.1f} dB, at least {needed:.0f} dB is needed)."
                )
        worst = ratio if worst is None or (ratio is not None and ratio < worst) else worst
    return worst


def _needed_db(case: Case, own: float, tolerance: Tolerance) -> float:
    """Rule 5, where the program itself is `own` dB from what it gives when it is moved."""
    least = -np.inf if case.edge else LEAST_DB
    return min(tolerance.floats_db, max(least, own - OWN_NOISE_DB))


def _compare_integers(case: Case, index: int, one: Array, other: Array, tolerance: Tolerance) -> None:
    different = int((one != other).sum())
    if not case.edge and different > max(1, tolerance.integers * one.size):
        raise Refused(
            f"agreement: at {case}, {different} of {one.size} integers in output {index} of call 1 differ from the "
            f"program it was made from ({tolerance.integers:.0%} may)."
        )


def _ratio_db(reference: Array, output: Array, typical: float) -> float | None:
    """Signal over noise in dB (rule 4); `None` without noise; -inf if not finite where the program's output is."""
    finite = np.isfinite(reference)
    one, other = reference[finite].astype(np.float64), output[finite].astype(np.float64)
    if np.array_equal(one, other):
        return None
    noise = float(np.square(one - other).mean())
    if not np.isfinite(noise):
        return -np.inf
    signal = max(float(np.square(one).mean()), typical)
    return float(10 * np.log10(signal / noise)) if signal > 0 else -np.inf


def _typical(references: Sequence[Sequence[Array]]) -> list[float]:
    """Mean square of each output over the ordinary cases; 0 for integers."""
    return [_power(np.concatenate([each.ravel() for each in same])) for same in zip(*references, strict=True)]


def _power(values: Array) -> float:
    if not np.issubdtype(values.dtype, np.floating):
        return 0.0
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.square(finite).mean()) if finite.size else 0.0


Edge = Callable[[Array, Array], Array]
"""Rows to be replaced, and all samples → rows of the edge."""


def _edges(heldout: Sequence[Array]) -> dict[str, Edge]:
    edges: dict[str, Edge] = {}
    if any(np.issubdtype(each.dtype, np.floating) for each in heldout):
        edges["zeros"] = _floats(lambda every: 0.0)
        edges["large values"] = _floats(lambda every: LARGE * _magnitude(every))
        edges["large negative values"] = _floats(lambda every: -LARGE * _magnitude(every))
    if not all(np.issubdtype(each.dtype, np.floating) for each in heldout):
        edges["least integers"] = _integers(lambda every: every.min(axis=0))
        edges["greatest integers"] = _integers(lambda every: every.max(axis=0))
    return edges


def _floats(value: Callable[[Array], float]) -> Edge:
    return lambda part, every: np.full_like(part, value(every)) if np.issubdtype(part.dtype, np.floating) else part


def _integers(value: Callable[[Array], Any]) -> Edge:
    return lambda part, every: part if np.issubdtype(part.dtype, np.floating) else np.full_like(part, value(every))


def _magnitude(every: Array) -> float:
    return float(np.abs(every).max())
