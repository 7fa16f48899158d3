"""The verdict of a job: a pure function of the goal and of what was measured.

1. A candidate *counts* if it verified, was measured, and was not refused. The original, eager and compiled, is what
   it is held against and no candidate itself.
2. It *gains*, when latency is minimized, if the 95 % interval of its speed-up lies above 1 + `NOISE` over eager
   and over compiled: who has the original can run it compiled, so what is not faster than that is nothing new. If the
   original does not compile, eager alone counts. When size is minimized, its file must be smaller than the original's
   and its speed-up over eager lie above 1: never slower holds there too.
3. It is *within the limits* if its drop on held-out data is at most `max_drop` (`DEFAULT_MAX_DROP` where none is
   given), its file at most `max_size`, and its median at most `max_latency`. The estimates themselves are compared;
   intervals are reported.
4. `improved`: one gains within the limits. Of those, latency: the highest speed-up over eager, which a search may have
   measured in another run; where intervals overlap with that one's, which is a tie, the smallest file. Size: the
   smallest file, then the highest speed-up.
5. `target_missed`: some gain, none of them within the limits. The nearest misses the fewest limits, and the worst of
   those by the least share; for each limit it misses, the advice is the value that would let it pass.
6. `no_gain`: none gains. The original is handed back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from burnish.recipe import DEFAULT_MAX_DROP, Goal, JobSpec
from burnish.results import Candidate, Environment, Estimate, Limit, Verdict
from workers.verdict_sentence import improved, no_gain, target_missed

__all__ = ["ORIGINAL", "decide"]

NOISE = 0.02
"""What a gain in latency must exceed. No interval of one run sees that two processes of one program differ, by their
memory layout: in 36 runs of a program against itself (`benchmarks/measure_noise.py`) the lower end exceeded 1 twice,
at 1.007 and 1.011."""
ORIGINAL = "original"
"""Variant of the candidates `eager` and `compiled`."""
_BYTES_OF_A_WEIGHT = 4


@dataclass(frozen=True)
class _Standing:
    """One candidate that counts (rule 1), and how it stands to the goal."""

    candidate: Candidate
    speedup: Estimate
    """Over the better of eager and compiled; over eager when size is minimized."""
    over_eager: Estimate
    size: int
    drop: float
    gains: bool
    limits: tuple[Limit, ...]

    @property
    def within(self) -> bool:
        """True if every limit is met (rule 3)."""
        return all(limit.met for limit in self.limits)

    @property
    def distance(self) -> tuple[int, float]:
        """How far it is from meeting all limits (rule 5)."""
        missed = [limit for limit in self.limits if not limit.met]
        return len(missed), max((limit.value / max(limit.limit, 1e-9) for limit in missed), default=0.0)


def decide(
    spec: JobSpec, candidates: Sequence[Candidate], environment: Environment, original_size: int | None = None
) -> Verdict:
    """The verdict over all candidates; `eager` must be among them.

    Args:
        original_size: bytes of the uploaded model. If it is not known, the original's weights count 4 bytes each.
    """
    goal = spec.recipe.goal
    size = original_size if original_size is not None else _estimated_size(candidates)
    standings = [standing for each in candidates if (standing := _standing(goal, each, size)) is not None]
    gaining = [standing for standing in standings if standing.gains]
    within = [standing for standing in gaining if standing.within]
    chosen: Candidate | None = None
    limits: tuple[Limit, ...] = ()
    if within:
        best = _best(goal, within)
        chosen, limits = best.candidate, best.limits
        outcome, sentence = "improved", improved(chosen, size)
    elif gaining:
        nearest = min(gaining, key=lambda standing: (*standing.distance, -standing.over_eager.value))
        limits = nearest.limits
        outcome, sentence = "target_missed", target_missed(nearest.candidate, limits)
    else:
        closest = max(standings, key=lambda standing: standing.speedup.low, default=None)
        limits = closest.limits if closest else ()
        outcome, sentence = "no_gain", no_gain(goal, closest.candidate if closest else None, candidates)
    return Verdict.model_validate(
        {
            "outcome": outcome,
            "sentence": sentence,
            "chosen": chosen.name if chosen else None,
            "limits": limits,
            "candidates": tuple(candidates),
            "environment": environment,
        }
    )


def _standing(goal: Goal, candidate: Candidate, original_size: int | None) -> _Standing | None:
    """`None` if the candidate does not count (rule 1)."""
    latency, quality, artifact = candidate.latency, candidate.quality, candidate.artifact
    over_eager = candidate.speedup_over_eager
    if candidate.variant == ORIGINAL or candidate.refused is not None:
        return None
    if latency is None or quality is None or artifact is None or over_eager is None:
        return None
    speedup = over_eager
    if goal.minimize == "latency" and candidate.speedup_over_compiled is not None:
        speedup = min(over_eager, candidate.speedup_over_compiled, key=lambda ratio: ratio.low)
    smaller = original_size is not None and artifact.size < original_size
    return _Standing(
        candidate=candidate,
        speedup=speedup,
        over_eager=over_eager,
        size=artifact.size,
        drop=quality.drop.value,
        gains=speedup.low > _least_gain(goal) and (smaller or goal.minimize == "latency"),
        limits=tuple(_limits(goal, speedup, quality.drop.value, artifact.size, latency.median.value)),
    )


def _limits(goal: Goal, speedup: Estimate, drop: float, size: int, median: float) -> Iterator[Limit]:
    least = _least_gain(goal)
    yield Limit(
        name="faster",
        limit=least,
        value=speedup.low,
        met=speedup.low > least,
        advice=None if speedup.low > least else "Try stronger passes: a larger `prune.ratio`, or `quantize`.",
    )
    max_drop = DEFAULT_MAX_DROP if goal.max_drop is None else goal.max_drop
    yield _at_most("max_drop", max_drop, drop, f"{_up(100 * drop, 2):.2f}%")
    if goal.max_size is not None:
        yield _at_most("max_size", goal.max_size, size, f"{_up(size / 1e6, 3):.3f}MB")
    if goal.max_latency is not None:
        yield _at_most("max_latency", goal.max_latency, median, f"{_up(1e3 * median, 3):.3f}ms")


def _least_gain(goal: Goal) -> float:
    """What the interval of the speed-up must lie above."""
    return 1.0 + NOISE if goal.minimize == "latency" else 1.0


def _at_most(name: str, limit: float, value: float, enough: str) -> Limit:
    met = value <= limit
    advice = None if met else f"Raise `{name}` to {enough}."
    return Limit.model_validate({"name": name, "limit": limit, "value": value, "met": met, "advice": advice})


def _up(value: float, digits: int) -> float:
    """Rounded up, so that the advice is enough; a hair less, so that 1.35 does not become 1.36."""
    return math.ceil(value * 10.0**digits - 1e-6) / 10.0**digits


def _best(goal: Goal, within: Sequence[_Standing]) -> _Standing:
    """Rule 4."""
    if goal.minimize == "size":
        return min(within, key=lambda standing: (standing.size, -standing.over_eager.value, standing.candidate.name))
    fastest = max(within, key=lambda standing: standing.over_eager.value)
    tied = [standing for standing in within if standing.over_eager.high >= fastest.over_eager.low]
    return min(tied, key=lambda standing: (standing.size, standing.drop, standing.candidate.name))


def _estimated_size(candidates: Sequence[Candidate]) -> int | None:
    counts = (each.parameters for each in candidates if each.variant == ORIGINAL and each.parameters is not None)
    return next((_BYTES_OF_A_WEIGHT * count for count in counts), None)
