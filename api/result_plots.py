"""What the plots of results are drawn from: plain data, shaped as `static/plots/*.js` tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.formatting import points, times
from burnish.results import Candidate, Quality, Verdict

__all__ = ["METRICS", "pareto", "pareto_of_many", "spread"]

METRICS = {"top1": "accuracy", "agreement": "agreement", "cosine": "cosine"}
"""Words for what quality is told by."""
_BASELINES = ("eager", "compiled")
_SPREAD = 12
"""Distributions side by side, at most."""


def pareto(verdict: Verdict) -> dict[str, Any] | None:
    """Time against quality of every candidate that was measured; `None` with fewer than two."""
    reference = _reference(verdict)
    if reference is None:
        return None
    shown = [
        _point(candidate, reference, f"#candidate-{number}", _kind(candidate, verdict))
        for number, candidate in enumerate(verdict.candidates, 1)
        if candidate.latency is not None and candidate.refused is None
    ]
    limits = {limit.name: limit.limit for limit in verdict.limits}
    lowest = reference.original - limits["max_drop"] if "max_drop" in limits else None
    return {
        "points": shown,
        "x": {"label": "time of a call", "unit": "seconds"},
        "y": {"label": METRICS[reference.metric], "unit": "share"},
        "limits": {"x": limits.get("max_latency"), "y": lowest},
    } if len(shown) > 1 else None  # fmt: skip


def pareto_of_many(verdicts: Sequence[tuple[str, str, Verdict]]) -> dict[str, Any] | None:
    """The same of several jobs, which are told apart: (name, address of the job, verdict) each. `None` if they have no
    measure of quality in common."""
    known = [(name, address, verdict, found) for name, address, verdict in verdicts if (found := _reference(verdict))]
    if len({found.metric for *_, found in known}) != 1:
        return None
    shown = [
        {**_point(candidate, found, f"{address}#candidate-{number}", _kind(candidate, verdict)), "series": name}
        for name, address, verdict, found in known
        for number, candidate in enumerate(verdict.candidates, 1)
        if candidate.latency is not None and candidate.refused is None
    ]
    return {
        "points": shown,
        "x": {"label": "time of a call", "unit": "seconds"},
        "y": {"label": METRICS[known[0][3].metric], "unit": "share"},
        "series": [name for name, *_ in known],
    }


def spread(verdict: Verdict) -> dict[str, Any] | None:
    """How the times of single calls are spread: of the original, the chosen, and the fastest of the others."""
    measured = [c for c in verdict.candidates if c.latency is not None and c.refused is None]
    others = [c for c in measured if _kind(c, verdict) == "other"]
    others.sort(key=lambda c: c.latency.median.value if c.latency else float("inf"))
    left_out = {c.name for c in others[max(0, _SPREAD - len(measured) + len(others)) :]}
    rows = [
        {
            "name": candidate.name,
            "median": candidate.latency.median.value,
            "low": candidate.latency.median.low,
            "high": candidate.latency.median.high,
            "p95": candidate.latency.p95,
            "quantiles": candidate.latency.quantiles,
            "kind": _kind(candidate, verdict),
            "href": f"#candidate-{number}",
            "rows": [["calls", f"{candidate.latency.calls:,} in {candidate.latency.rounds} rounds"]],
        }
        for number, candidate in enumerate(verdict.candidates, 1)
        if candidate.latency is not None and candidate.refused is None and candidate.name not in left_out
    ]
    return {"rows": rows, "unit": "seconds", "label": "time of a call"} if rows else None


def _reference(verdict: Verdict) -> Quality | None:
    """Any quality: all hold the original's, on the same samples."""
    return next((candidate.quality for candidate in verdict.candidates if candidate.quality), None)


def _kind(candidate: Candidate, verdict: Verdict) -> str:
    if candidate.name == verdict.chosen:
        return "chosen"
    return "original" if candidate.name in _BASELINES else "other"


def _point(candidate: Candidate, reference: Quality, href: str, kind: str) -> dict[str, Any]:
    """Place and intervals; the original's quality is exact, since all are compared with it."""
    assert candidate.latency is not None
    time, quality = candidate.latency.median, candidate.quality
    original = reference.original
    place = {"y": original} if quality is None else {
        "y": quality.value, "ylow": original - quality.drop.high, "yhigh": original - quality.drop.low,
    }  # fmt: skip
    told = [["against eager", times(candidate.speedup_over_eager.value)]] if candidate.speedup_over_eager else []
    if quality is not None:
        told.append(["drop", points(quality.drop.value)])
    return {
        "name": candidate.name,
        "x": time.value,
        "xlow": time.low,
        "xhigh": time.high,
        **place,
        "size": candidate.artifact.size if candidate.artifact else None,
        "kind": kind,
        "href": href,
        "rows": told,
    }
