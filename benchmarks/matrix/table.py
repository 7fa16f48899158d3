"""The page `docs/matrix.md`, made from the records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.matrix.cells import CELLS, Cell
from benchmarks.matrix.findings import findings
from benchmarks.matrix.models import MODELS, Model
from benchmarks.matrix.records import Records

__all__ = ["OWN_LOAD", "best", "document", "state"]

_INTRODUCTION = """# What works on which model

Made by `python -m benchmarks.matrix --table docs/matrix.md`; `--help` says how. Every row is a recipe, run by the
service's own steps: passes, every automatic backend, verification in a fresh process, and the measuring protocol at
batch 1 with one thread. Packages and data come from PyPI, npm and Debian.

**Quality** is on held-out data that no pass has seen: top-1 accuracy, or the cosine to the original's outputs where
there are no classes. **Drop** is the original's minus this one's, in points of a hundredth, with its 95 % interval.
**Backend** is the fastest of those that verified (the one with the smallest artifact where no speed was measured), and
quality and size are its. `MB` is the artifact: that of Inductor holds machine code, and those with a contract their
Python. **× eager** and **× compiled** compare with the original, eager and by `torch.compile`, measured in the same
run. A model that carries state is compared with the original on the whole window.
"""

OWN_LOAD = 3.0
"""Load that measuring one model after the other makes by itself on two cores: it compiles between the runs."""


def document(records: Records, models: Sequence[Model] = MODELS, cells: Sequence[Cell] = CELLS) -> str:
    """The whole page."""
    known = {(model.name, cell.name): records.read(model.name, cell.name) for model in models for cell in cells}
    have = {place: record for place, record in known.items() if record is not None}
    missing = {model.name: records.unavailable(model.name) for model in models}
    parts = [_INTRODUCTION, _counted(have, len(models) * len(cells)), _caption(have), _overview(have, models, cells)]
    for model in models:
        mine = [(cell, have[model.name, cell.name]) for cell in cells if (model.name, cell.name) in have]
        parts.append(_section(model, mine, missing[model.name]))
    parts.append(findings(have))
    return "\n".join(parts)


def best(record: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
    """The backend that is shown, and what is known of it; `None` if no artifact was verified."""
    verified = {name: found for name, found in record.get("backends", {}).items() if "quality" in found}
    if not verified:
        return None
    speeds = record.get("speed", {}).get("backends", {})
    timed = {name: speeds[name]["latency"]["median"]["value"] for name in verified if "latency" in speeds.get(name, {})}
    name = min(timed, key=lambda one: timed[one]) if timed else min(verified, key=lambda one: verified[one]["size"])
    return name, {**verified[name], **speeds.get(name, {})}


def state(record: Mapping[str, Any]) -> str:
    """`works`, `nothing to do` (no layer it could treat), `refused`, `rejected` (by verification) or `failed`."""
    idle = record["state"] == "refused" and str(record["reason"]).startswith("Nothing to do.")
    return "nothing to do" if idle else str(record["state"])


def _counted(have: Mapping[tuple[str, str], Mapping[str, Any]], cells: int) -> str:
    states = [state(record) for record in have.values()]
    exported = {model for model, _ in have}
    chains = [state(record) for (_, cell), record in have.items() if cell.startswith("chain")]
    counts = (
        f"{states.count('works')} work, {states.count('nothing to do')} find nothing to do, "
        f"{states.count('refused')} are refused with a reason, {states.count('rejected')} are rejected by verification "
        f"and {states.count('failed')} fail"
    )
    tried = Counter(backend for record in have.values() for backend in record.get("backends", {}))
    backends = ", ".join(f"{backend} for {count}" for backend, count in sorted(tried.items()))
    return (
        f"Exported: {len(exported)} models. Cells run: {len(states)} of {cells}, of which {counts}. "
        f"Backends that were tried: {backends}. "
        f"Of {len(chains)} chains {chains.count('works')} work, {chains.count('refused')} are refused, "
        f"{chains.count('rejected')} are rejected, {chains.count('failed')} fail.\n"
    )


def _caption(have: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    speeds = [record["speed"] for record in have.values() if "speed" in record]
    if not speeds:
        return "No speed was measured yet.\n"
    loads = sorted(speed["environment"]["load"] for speed in speeds)
    machines = dict.fromkeys(speed["environment"]["cpu"] for speed in speeds)
    warning = " **Other work shared the machine, so speeds are no facts yet.**" if loads[-1] > OWN_LOAD else ""
    return (
        f"Speeds of {len(speeds)} cells, on {', '.join(machines)}; load when they began {loads[0]:.1f} to "
        f"{loads[-1]:.1f}.{warning}\n"
    )


def _overview(have: Mapping[tuple[str, str], Mapping[str, Any]], models: Sequence[Model], cells: Sequence[Cell]) -> str:
    lines = ["| drop, in points |" + "".join(f" {model.name} |" for model in models), "|---|" + "---|" * len(models)]
    for cell in cells:
        short = (_short(have.get((model.name, cell.name))) for model in models)
        lines.append(f"| {cell.words} |" + "".join(f" {text} |" for text in short))
    return "\n".join(lines) + "\n"


def _short(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return ""
    found = best(record)
    return f"{100 * found[1]['quality']['drop']['value']:.2f}" if found else state(record)


def _section(model: Model, mine: Sequence[tuple[Cell, Mapping[str, Any]]], unavailable: str | None) -> str:
    lines = [f"## {model.name}", "", f"{model.words[0].upper()}{model.words[1:]}.", ""]
    if unavailable is not None:
        return "\n".join([*lines, f"Not run, since it could not be had: {unavailable}", ""])
    if not mine:
        return "\n".join([*lines, "Not run yet.", ""])
    lines += [
        "| recipe | | quality | drop | MB | backend | × eager | × compiled |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_row(cell, record) for cell, record in mine), ""])


def _row(cell: Cell, record: Mapping[str, Any]) -> str:
    found = best(record)
    if found is None:
        return f"| {cell.words} | {state(record)} | | | | | | |"
    name, facts = found
    quality = facts["quality"]
    drop = " to ".join(f"{100 * quality['drop'][end]:.2f}" for end in ("low", "high"))
    figures = [
        f"{quality['metric']} {100 * quality['value']:.2f}",
        f"{100 * quality['drop']['value']:.2f} ({drop})",
        f"{facts['size'] / 1e6:.3f}",
        name,
        *(_ratio(facts.get(f"speedup_over_{baseline}")) for baseline in ("eager", "compiled")),
    ]
    return f"| {cell.words} | {state(record)} | " + " | ".join(figures) + " |"


def _ratio(ratio: Mapping[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
