"""The verdict in words."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.recipe import Goal
from burnish.recipe.quantities import format_bytes, format_fraction, format_seconds
from burnish.results import Candidate, Estimate, Limit, Quality

__all__ = ["improved", "no_gain", "target_missed"]

_NOTICEABLE = 1.05
"""Ratio of sizes from which on they are called different."""


def improved(chosen: Candidate, original_size: int | None) -> str:
    """`prune+quantize on onnxruntime: 4.6× faster than eager (…), 2.3× than compiled, 0.25 points less accurate, …`"""
    parts = [_speed(chosen)]
    if chosen.quality is not None:
        parts.append(_quality(chosen.quality))
    if chosen.artifact is not None and original_size is not None:
        parts.append(_size(original_size / chosen.artifact.size))
    return f"{_title(chosen)}: {', '.join(parts)}."


def target_missed(nearest: Candidate, limits: Sequence[Limit]) -> str:
    """Which limits the nearest candidate misses, by how much, and what to relax."""
    missed = [limit for limit in limits if not limit.met]
    reasons = " and ".join(f"`{each.name}` ({_shown(each)})" for each in missed)
    advice = " ".join(each.advice for each in missed if each.advice)
    found = f"The nearest, {_title(nearest)}, is {_speed(nearest)}, but misses {reasons}."
    return f"No candidate met every limit. {found} {advice}"


def no_gain(goal: Goal, closest: Candidate | None, candidates: Sequence[Candidate]) -> str:
    """Why the original is handed back."""
    start = "Nothing beat the original, which is what you get"
    if closest is None:
        return f"{start}: {_why_none(candidates)}."
    over_eager, over_compiled = closest.speedup_over_eager, closest.speedup_over_compiled
    if goal.minimize == "size" and over_eager is not None and over_eager.low > 1.0:
        return f"{start}: no candidate that is faster has a smaller file."
    baseline, ratio = "eager", over_eager
    if goal.minimize == "latency" and over_compiled is not None and over_eager is not None:
        baseline, ratio = min((("eager", over_eager), ("compiled", over_compiled)), key=lambda pair: pair[1].low)
    speed = "" if ratio is None else f" ran at {_times(ratio.value)} the speed of {baseline} {_interval(ratio)}"
    return f"{start}: the best candidate, {_title(closest)},{speed}.{_hint(candidates)}"


def _title(candidate: Candidate) -> str:
    return f"{candidate.variant} on {candidate.backend}"


def _speed(candidate: Candidate) -> str:
    over_eager, over_compiled = candidate.speedup_over_eager, candidate.speedup_over_compiled
    assert over_eager is not None  # only what was measured is spoken of
    than_compiled = "" if over_compiled is None else f", {_times(over_compiled.value)} than compiled"
    return f"{_times(over_eager.value)} faster than eager {_interval(over_eager)}{than_compiled}"


def _quality(quality: Quality) -> str:
    if quality.metric == "agreement":
        return f"the original's class on {100 * quality.value:.2f} % of the held-out samples"
    if quality.metric == "cosine":
        return f"outputs with a cosine of {quality.value:.4f} to the original's"
    points = 100 * quality.drop.value
    if abs(points) < 0.005:
        return "as accurate"
    return f"{abs(points):.2f} points {'less' if points > 0 else 'more'} accurate"


def _size(ratio: float) -> str:
    if ratio >= _NOTICEABLE:
        return f"{_times(ratio)} smaller"
    return f"{_times(1 / ratio)} larger" if ratio <= 1 / _NOTICEABLE else "about as large"


def _shown(limit: Limit) -> str:
    """`1.35 % where 0.50 % is allowed`."""
    if limit.name == "max_drop":
        return f"{format_fraction(limit.value)} where {format_fraction(limit.limit)} is allowed"
    if limit.name == "max_size":
        return f"{format_bytes(round(limit.value))} where {format_bytes(round(limit.limit))} is allowed"
    return f"{format_seconds(limit.value)} where {format_seconds(limit.limit)} is allowed"


def _why_none(candidates: Sequence[Candidate]) -> str:
    refused = [each for each in candidates if each.refused is not None and each.variant != "original"]
    if not refused:
        return "there was no other candidate to measure"
    first = refused[0]
    reason = (first.refused or "").rstrip(".")
    count = "the only candidate" if len(refused) == 1 else f"all {len(refused)} candidates"
    return f"{count} had to be refused ({_title(first)}: {reason})"


def _hint(candidates: Sequence[Candidate]) -> str:
    """If compiling alone helps, that is worth knowing."""
    for each in candidates:
        ratio = each.speedup_over_eager
        if each.name == "compiled" and ratio is not None and ratio.low > 1.0:
            return f" Compiled by `torch.compile`, the original is {_times(ratio.value)} faster than eager."
    return ""


def _times(ratio: float) -> str:
    return f"{ratio:.1f}×" if ratio >= 2 else f"{ratio:.2f}×"


def _interval(ratio: Estimate) -> str:
    digits = 1 if ratio.low >= 10 else 2
    return f"(95 % interval {ratio.low:.{digits}f} to {ratio.high:.{digits}f})"
