"""Whether a job's result replaces the champion: a pure function of the verdict, which has the figures of both.

1. Only an `improved` result can: it beats the original and holds every limit of the goal. Otherwise the champion stays.
2. Where there is no champion yet, it is promoted.
3. The same bytes are no challenger: the champion stays.
4. A champion that is refused on today's data and model (it does not run, or gives other shapes or no numbers), or that
   breaks a limit of the goal there, is replaced.
5. Else both must have been measured in one run, and latency decides by the rule of the verdict: the 95 % interval of
   the ratio of medians champion over challenger has to lie above 1 + `NOISE`. When size is minimized, the challenger's
   file must be smaller, and the interval lie above 1 - `NOISE`: it is not slower by more than that.
6. What can't be told, since a step failed for reasons of its own, keeps the champion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from burnish.recipe import DEFAULT_MAX_DROP, Goal
from burnish.recipe.quantities import format_bytes, format_fraction, format_seconds
from burnish.results import Candidate, Estimate, Verdict
from workers.contest import CHAMPION, Contest
from workers.verdict import NOISE

__all__ = ["Decision", "decide", "still_holds"]


@dataclass(frozen=True)
class Decision:
    """What becomes of the champion."""

    outcome: Literal["promoted", "kept", "holds", "drifted"]
    reason: str
    challenger: Candidate | None = None
    """The result that was held against it."""
    speedup: Estimate | None = None
    """Champion over challenger; above 1 the challenger is faster."""


def decide(goal: Goal, verdict: Verdict, contest: Contest) -> Decision:
    """Whether the result of a job is promoted, by the rules above."""
    chosen = _named(verdict, verdict.chosen)
    if verdict.outcome != "improved" or chosen is None or chosen.artifact is None:
        return Decision("kept", f"The job has no result to promote: {verdict.sentence}")
    if contest.champion is None:
        return Decision("promoted", f"It is the first under {contest.alias}: {verdict.sentence}", chosen)
    if chosen.artifact.digest == contest.champion.artifact.digest:
        return Decision("kept", "The job came to the very artifact that is the champion.", chosen)
    champion = _champion(verdict)
    if champion is None:
        return Decision("kept", "The champion could not be looked at on this data, so nothing is proven.", chosen)
    if broken := list(_broken(goal, champion)):
        return Decision("promoted", f"The champion no longer holds: {' '.join(broken)}", chosen)
    return _measured(goal, champion, chosen)


def still_holds(goal: Goal, verdict: Verdict) -> Decision:
    """Whether a champion that was measured again still holds every limit, being faster than the original included."""
    champion = _champion(verdict)
    if champion is None:
        return Decision("drifted", "The champion was not measured.")
    broken = list(_broken(goal, champion))
    if champion.refused is not None and champion.quality is not None:
        broken.append(champion.refused)
    if verdict.outcome == "no_gain" and champion.refused is None:
        broken.append(verdict.sentence)
    if broken:
        return Decision("drifted", f"The champion no longer holds: {' '.join(broken)}")
    return Decision("holds", f"Every limit holds: {verdict.sentence}")


def _measured(goal: Goal, champion: Candidate, chosen: Candidate) -> Decision:
    """Rules 5 and 6."""
    ratio = chosen.speedup_over_champion
    if ratio is None or champion.quality is None or champion.latency is None:
        return Decision("kept", "The two could not be measured in one run, so nothing is proven.", chosen)
    figures = f"{ratio.value:.2f}× the champion's speed ({ratio.low:.2f} to {ratio.high:.2f})"
    if goal.minimize == "latency":
        if ratio.low > 1.0 + NOISE:
            return Decision("promoted", f"It has {figures}, proven above {1.0 + NOISE:.2f}.", chosen, ratio)
        reason = f"It has {figures}; to be proven faster, the interval has to lie above {1.0 + NOISE:.2f}."
        return Decision("kept", reason, chosen, ratio)
    assert champion.artifact is not None
    assert chosen.artifact is not None
    sizes = f"{format_bytes(chosen.artifact.size)} against {format_bytes(champion.artifact.size)}"
    if chosen.artifact.size >= champion.artifact.size:
        return Decision("kept", f"It is not smaller than the champion: {sizes}.", chosen, ratio)
    if ratio.low <= 1.0 - NOISE:
        return Decision("kept", f"It is smaller ({sizes}), but it may be slower: it has {figures}.", chosen, ratio)
    return Decision("promoted", f"It is smaller ({sizes}) and not slower: it has {figures}.", chosen, ratio)


def _broken(goal: Goal, champion: Candidate) -> Iterator[str]:
    """The limits that the champion breaks, as sentences (rule 4)."""
    if champion.refused is not None and champion.quality is None:
        yield f"it was refused ({champion.refused.rstrip('.')})."
        return
    limit = DEFAULT_MAX_DROP if goal.max_drop is None else goal.max_drop
    if champion.quality is not None and champion.quality.drop.value > limit:
        yield f"its drop is {format_fraction(champion.quality.drop.value)}, the limit {format_fraction(limit)}."
    size = champion.artifact.size if champion.artifact else 0
    if goal.max_size is not None and size > goal.max_size:
        yield f"its file has {format_bytes(size)}, the limit is {format_bytes(goal.max_size)}."
    median = champion.latency.median.value if champion.latency else 0.0
    if goal.max_latency is not None and median > goal.max_latency:
        yield f"a call takes {format_seconds(median)}, the limit is {format_seconds(goal.max_latency)}."


def _champion(verdict: Verdict) -> Candidate | None:
    return next((each for each in verdict.candidates if each.variant == CHAMPION), None)


def _named(verdict: Verdict, name: str | None) -> Candidate | None:
    return next((each for each in verdict.candidates if each.name == name), None)
