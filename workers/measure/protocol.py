"""The one measuring protocol: contenders in turn, warm-up until steady, rounds until the ratios are known.

1. Each contender is a process of its own, bound to the target's number of cores, and runs only in its turn; the
   others block in a read. Turns go A B C A B C …, so that what the host does meanwhile hits all of them.
2. A turn makes `untimed` calls that bring the model back into the caches, then as many timed calls as fill about
   `ROUND_SECONDS`. The count is fixed per contender after the first warm-up round.
3. Warm-up: whole rounds, at least `WARM_UP_ROUNDS`, until for every contender the medians of the last three lie within
   `STEADY` of each other, or `warm_up_seconds` have passed.
4. Measuring: at least `min_rounds` rounds; then until the 95 % interval of each ratio (baseline over contender, for
   each baseline) is within ±`precision` of its value, or `seconds` have passed. Rounds that are still missing to
   `min_rounds` are made up to `hard_seconds`; fewer than `FEWEST_ROUNDS` are never reported.
5. A contender that fails in its turn is out, with its reason; the others go on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from burnish.results import Estimate, Latency
from workers.measure.contender import ContenderFailed
from workers.measure.statistics import median_interval, ratio_of_medians

__all__ = ["Plan", "Rounds", "Timed", "measure"]

ROUND_SECONDS = 0.015
MOST_CALLS = 2000
UNTIMED_CALLS = 1
WARM_UP_ROUNDS = 3
STEADY = 0.05
FEWEST_ROUNDS = 5
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Quantiles that are reported."""
LOOK_EVERY = 5
"""Rounds between two looks at the intervals."""


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    seconds: float = 12.0
    """Of measuring, after the warm-up, once `min_rounds` are made."""
    min_rounds: int = 20
    precision: float = 0.02
    """Half width of each ratio's interval, as a share of the ratio, that is enough."""
    warm_up_seconds: float = 6.0
    hard_seconds: float = 120.0
    """Limit even for `min_rounds`."""
    settle_seconds: float = 0.0
    """Pause before each turn, for the pools of the one before to fall asleep (they spin for some milliseconds)."""
    seed: int = 0


class Timed(Protocol):
    """What the protocol needs of a contender."""

    def round(self, calls: int, untimed: int, limit: float) -> list[float]:
        """Seconds of each of `calls` calls; raises `ContenderFailed`."""


@dataclass
class Rounds:
    """What was measured."""

    baselines: tuple[str, ...]
    seed: int
    seconds: dict[str, list[list[float]]] = field(default_factory=dict)
    """Contender → round → call. All contenders that are left have the same number of rounds."""
    failed: dict[str, str] = field(default_factory=dict)

    def medians(self, name: str) -> NDArray[np.float64]:
        """Median of each round."""
        return np.array([np.median(calls) for calls in self.seconds[name]])

    def latency(self, name: str) -> Latency:
        """Time of one call of this contender."""
        calls = np.concatenate([np.asarray(one) for one in self.seconds[name]])
        return Latency(
            median=median_interval(self.medians(name), self.seed),
            p95=float(np.quantile(calls, 0.95)),
            rounds=len(self.seconds[name]),
            calls=calls.size,
            quantiles={str(share): float(np.quantile(calls, share)) for share in SHARES},
        )

    def speedup(self, name: str, baseline: str) -> Estimate | None:
        """Median of the baseline over this contender's; `None` if the baseline failed."""
        if baseline not in self.seconds:
            return None
        return ratio_of_medians(self.medians(baseline), self.medians(name), self.seed)


def measure(
    contenders: Mapping[str, Timed],
    baselines: Sequence[str],
    plan: Plan,
    progress: Callable[[float, str], None] = lambda share, doing: None,
    clock: Callable[[], float] = time.monotonic,
) -> Rounds:
    """Runs the protocol over contenders that are loaded and prepared, in the mapping's order.

    Args:
        baselines: names of those the others are compared with.
    """
    race = _Race(dict(contenders), plan, Rounds(tuple(baselines), plan.seed))
    started = clock()
    progress(0.0, "warming up")
    while race.running and not race.steady() and clock() - started < plan.warm_up_seconds:
        race.turn_of_each()
    race.forget()
    started = clock()
    while race.running:
        race.turn_of_each()
        count, spent = race.count, clock() - started
        if count < plan.min_rounds:
            if spent > plan.hard_seconds and count >= FEWEST_ROUNDS:
                break
        elif spent > plan.seconds or (count % LOOK_EVERY == 0 and race.precise()):
            break
        if count % LOOK_EVERY == 0:
            progress(min(1.0, max(spent / plan.seconds, 0.0)), f"measuring, round {count}")
    return race.rounds


class _Race:
    """The contenders that are still in, and the rounds so far."""

    def __init__(self, running: dict[str, Timed], plan: Plan, rounds: Rounds) -> None:
        self.running = running
        self.rounds = rounds
        self._plan = plan
        self._calls = dict.fromkeys(running, 1)
        rounds.seconds.update({name: [] for name in running})

    @property
    def count(self) -> int:
        """Rounds that all who are left have made."""
        return min((len(self.rounds.seconds[name]) for name in self.running), default=0)

    def turn_of_each(self) -> None:
        """One round (rule 2)."""
        for name, contender in list(self.running.items()):
            if self._plan.settle_seconds:
                time.sleep(self._plan.settle_seconds)
            try:
                seconds = contender.round(self._calls[name], UNTIMED_CALLS, self._plan.hard_seconds)
            except ContenderFailed as failure:
                self._drop(name, str(failure))
                continue
            self.rounds.seconds[name].append(seconds)
            if len(self.rounds.seconds[name]) == 1:
                self._calls[name] = _calls_per_round(min(seconds))

    def steady(self) -> bool:
        """Rule 3."""
        if self.count < WARM_UP_ROUNDS:
            return False
        last = [self.rounds.medians(name)[-WARM_UP_ROUNDS:] for name in self.running]
        return all(medians.max() <= (1 + STEADY) * medians.min() for medians in last)

    def forget(self) -> None:
        """Drops the rounds of the warm-up."""
        for name in self.running:
            self.rounds.seconds[name] = []

    def precise(self) -> bool:
        """Rule 4."""
        ratios = [
            self.rounds.speedup(name, baseline)
            for baseline in self.rounds.baselines
            for name in self.running
            if name != baseline
        ]
        known = [ratio for ratio in ratios if ratio is not None]
        return all((ratio.high - ratio.low) / 2 <= self._plan.precision * ratio.value for ratio in known)

    def _drop(self, name: str, reason: str) -> None:
        del self.running[name]
        del self.rounds.seconds[name]
        self.rounds.failed[name] = reason


def _calls_per_round(seconds: float) -> int:
    return min(MOST_CALLS, max(1, math.ceil(ROUND_SECONDS / max(seconds, 1e-9))))
