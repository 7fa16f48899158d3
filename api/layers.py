"""Layers on a job's page: what each costs, how it bears rounding, and what the passes did to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from burnish.resources import JobResource, StepResource
from burnish.results import LayerTreatment, Verdict

__all__ = ["LayerRow", "Layers", "layers_of"]

_DRAWN = 24
"""Bars in a plot, at most: the table has them all."""
_UNTOUCHED = ("left alone", "unchanged")


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer. What is not known is `None`."""

    name: str
    op: str | None
    seconds: float | None
    parameters: int | None
    errors: dict[str, float]
    """Signal-to-noise ratio of the program's outputs, in dB, if this layer alone is rounded, by how."""
    treatments: tuple[tuple[str, LayerTreatment], ...]
    """(step, what it did)."""

    @property
    def treated(self) -> bool:
        """True if any pass changed it."""
        return any(not done.treatment.startswith(_UNTOUCHED) for _, done in self.treatments)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers of one variant of a job."""

    variant: str
    """Prefix of its steps' names; empty for the passes of the recipe."""
    variants: tuple[str, ...]
    rows: tuple[LayerRow, ...]
    precisions: tuple[str, ...]
    """Which roundings `errors` tells of."""
    time_plot: dict[str, Any] | None
    sensitivity_plot: dict[str, Any] | None


def layers_of(job: JobResource, wanted: str | None) -> Layers | None:
    """The layers of a variant: the wanted one, or that of the verdict. `None` before anything is known of any layer."""
    treating = [step for step in job.steps if step.op.startswith("pass:") and step.report.get("layers")]
    variants = tuple(dict.fromkeys(_prefix(step) for step in treating))
    variant = wanted if wanted in variants else _of_verdict(job.verdict, variants)
    profiled = next((step.report for step in job.steps if step.op == "profile" and step.report.get("layers")), None)
    rows = _rows(profiled, [step for step in treating if _prefix(step) == variant])
    if not rows:
        return None
    return Layers(
        variant=variant,
        variants=variants,
        rows=rows,
        precisions=tuple(dict.fromkeys(name for row in rows for name in row.errors)),
        time_plot=_time_plot(rows),
        sensitivity_plot=_sensitivity_plot(rows),
    )


def _prefix(step: StepResource) -> str:
    return step.name.rpartition("/")[0]


def _of_verdict(verdict: Verdict | None, variants: Sequence[str]) -> str:
    chosen = next((c for c in verdict.candidates if c.name == verdict.chosen), None) if verdict else None
    if chosen is not None and chosen.variant in variants:
        return chosen.variant
    return "" if "" in variants or not variants else variants[-1]


def _rows(profiled: dict[str, Any] | None, steps: Iterable[StepResource]) -> tuple[LayerRow, ...]:
    """The profile's layers in the order of its calls, then those that only a pass knows."""
    known: dict[str, dict[str, Any]] = {layer["name"]: layer for layer in (profiled or {}).get("layers", ())}
    done: dict[str, list[tuple[str, LayerTreatment]]] = {name: [] for name in known}
    for step in steps:
        for layer in step.report["layers"]:
            done.setdefault(layer["layer"], []).append((step.name, LayerTreatment.model_validate(layer)))
    return tuple(
        LayerRow(
            name=name,
            op=known.get(name, {}).get("op"),
            seconds=known.get(name, {}).get("seconds", _first(treated)),
            parameters=known.get(name, {}).get("parameters"),
            errors=known.get(name, {}).get("errors", {}),
            treatments=tuple(treated),
        )
        for name, treated in done.items()
    )


def _first(treated: Sequence[tuple[str, LayerTreatment]]) -> float | None:
    return next((each.seconds for _, each in treated if each.seconds is not None), None)


def _time_plot(rows: Sequence[LayerRow]) -> dict[str, Any] | None:
    longest = sorted((row for row in rows if row.seconds is not None), key=lambda row: -(row.seconds or 0.0))[:_DRAWN]
    shown = [{**_bar(row), "value": row.seconds} for row in rows if row in longest]
    return {"rows": shown, "unit": "seconds", "label": "time in one call"} if shown else None


def _sensitivity_plot(rows: Sequence[LayerRow]) -> dict[str, Any] | None:
    """The layers that bear worst the mildest rounding that the profile tried, or else what was done to them."""
    precision = next((name for row in rows for name in row.errors), None)
    known = [(row, error) for row in rows if (error := _error(row, precision)) is not None]
    if not known:
        return None
    worst = sorted(known, key=lambda each: each[1])[:_DRAWN]
    shown = [{**_bar(row), "value": error} for row, error in known if (row, error) in worst]
    return {"rows": shown, "unit": "decibel", "label": f"signal to noise with {precision or 'what was done'}"}


def _error(row: LayerRow, precision: str | None) -> float | None:
    """In dB; without a profile, the worst that a treatment of the layer reports."""
    if precision is not None:
        return row.errors.get(precision)
    return min((each.error_db for _, each in row.treatments if each.error_db is not None), default=None)


def _bar(row: LayerRow) -> dict[str, Any]:
    told = [[step, each.treatment] for step, each in row.treatments] or [["passes", "none touched it"]]
    return {"name": row.name, "kind": "chosen" if row.treated else "other", "rows": told}
