"""The page `docs/peers.md`, made from the records alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.matrix.table import OWN_LOAD
from benchmarks.peers.routes import ROUTES, Route
from benchmarks.peers.verdict import Verdict, counts, verdict_of

__all__ = ["document", "sentence"]

Record = Mapping[str, Any]

_INTRODUCTION = """# Next to the peers' own routes

Made by `python -m benchmarks.peers --table docs/peers.md`; `--help` says how. Every model is one exported program with
its calibration data. Each peer gets both, by the route that its own documentation tells a user. This service gets them
by the roundings that [the search](recipes.md) of a goal without passes begins with, on every automatic backend: int8
with static and with dynamic activations, bfloat16 by itself and beside int8 where a backend computes in it, and the
model as it is. All contenders of a model are measured in one run of [the protocol](measuring.md), in turn, each in a
process of its own, at batch 1.

**Drop** is the original's quality on held-out data minus this one's, in points of a hundredth (top-1, or the cosine of
the outputs where there are no classes), at batch 1. **× compiled** compares with `torch.compile` of the original in
float32. Intervals are of 95 %. The verdict's rules are numbered in `benchmarks/peers/verdict.py`: a peer that is wrong,
or loses more than 0.3 points and more than ours, sets no bar.
"""


def document(known: Mapping[str, Mapping[str, Record]]) -> str:
    """The page.

    Args:
        known: model → route → record, speeds under `speed`.
    """
    verdicts = {model: verdict_of(records) for model, records in known.items()}
    parts = [_INTRODUCTION, _caption(known), _verdicts(verdicts)]
    return "\n".join([*parts, *(_section(model, records, verdicts[model]) for model, records in known.items())])


def sentence(model: str, verdict: Verdict | None) -> str:
    """One line for a terminal."""
    if verdict is None:
        return f"{model}: nothing of ours was measured."
    against = "no peer counts" if verdict.ratio is None else f"{_ratio(verdict.ratio)} x as fast as {verdict.peer}"
    if verdict.int8_peer != verdict.peer:
        against += f" and {_ratio(verdict.int8_ratio)} x {verdict.int8_peer}"
    return (
        f"{model}: {verdict.ours} is {against}; not slower by 5 %: {verdict.not_slower}; "
        f"int8 >= 1.5 x compiled: {verdict.target}; within 0.3 points: {verdict.drop}."
    )


def _caption(known: Mapping[str, Mapping[str, Record]]) -> str:
    speeds = [record["speed"] for records in known.values() for record in records.values() if "speed" in record]
    if not speeds:
        return "No speed was measured yet.\n"
    loads = sorted(speed["environment"]["load"] for speed in speeds)
    machines = ", ".join(dict.fromkeys(speed["environment"]["cpu"] for speed in speeds))
    threads = ", ".join(dict.fromkeys(str(speed["environment"]["threads"]) for speed in speeds))
    warning = " **Other work shared the machine, so speeds are no facts yet.**" if loads[-1] > OWN_LOAD else ""
    return (
        f"Measured on {machines}, with {threads} thread(s); load when runs began {loads[0]:.1f} to {loads[-1]:.1f}."
        f"{warning}\n"
    )


def _verdicts(verdicts: Mapping[str, Verdict | None]) -> str:
    lines = [
        "| model | ours | best peer: its time / ours | best int8 peer: its time / ours | not slower by 5 % "
        "| int8 ≥ 1.5 × compiled | within 0.3 |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, verdict in verdicts.items():
        if verdict is not None:
            peers = (_against(verdict.peer, verdict.ratio), _against(verdict.int8_peer, verdict.int8_ratio))
            cells = (verdict.ours, *peers, verdict.not_slower, verdict.target, verdict.drop)
            lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _against(peer: str | None, ratio: Mapping[str, float] | None) -> str:
    return "none counts" if peer is None else f"{peer}: {_ratio(ratio)}"


def _section(model: str, records: Mapping[str, Record], verdict: Verdict | None) -> str:
    lines = [f"## {model}", "", "| route | | | drop | MB | µs | × compiled |", "|---|---|---|---|---|---|---|"]
    ours = None if verdict is None else records[verdict.ours]
    lines += [_row(route, records[route.name], ours) for route in ROUTES if route.name in records]
    return "\n".join([*lines, ""])


def _row(route: Route, record: Record, ours: Record | None) -> str:
    name = f"`{route.name}` | {route.words}"
    if record["state"] != "works":
        return f"| {name} | {record['state']}: {_escaped(record['reason'])} | | | | |"
    drop, faults = record["quality"]["drop"], list(record["faults"])
    if ours is not None and not faults and not counts(record, ours):
        faults.append("loses too much")
    interval = f"{100 * drop['value']:.2f} ({100 * drop['low']:.2f} to {100 * drop['high']:.2f})"
    cells = [f"works{''.join(f', {fault}' for fault in faults)}", interval, f"{record['size'] / 1e6:.3f}"]
    speed = record.get("speed")
    if speed is not None:
        median = speed["latency"]["median"]
        cells += [f"{1e6 * median['value']:.1f}", _ratio(speed["over"].get("compiled"))]
    return f"| {name} | {' | '.join([*cells, '', ''][:5])} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _ratio(ratio: Mapping[str, float] | None) -> str:
    return "" if ratio is None else f"{ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
