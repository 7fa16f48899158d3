"""What the figures of one model come to: ours against the best peer, and int8 against the compiled original.

1. Ours is the fastest of those artifacts of ours that lose no more than `WITHIN` points, as the service hands it back;
   if all lose more, the fastest.
2. A peer counts if it works, repeats itself, leaves its input alone, and loses no more than `WITHIN` points or no
   more than ours does: what is fast and wrong sets no bar. The best one is the fastest that counts.
3. Ours is `not slower` if even the low end of the ratio's interval is above `SLOWER`; slower if the high end is
   below it; else the run does not tell.
4. The target for int8 is `TARGET` times the compiled original, so it is asked of our fastest int8. Where that misses
   it, it matters whether a peer's int8 reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.routes import OURS, PEERS

__all__ = ["Verdict", "counts", "verdict_of"]

WITHIN = 0.003
SLOWER = 0.95
TARGET = 1.5

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One model's."""

    ours: str
    """Route."""
    peer: str | None
    """The best one; `None` if none counts."""
    ratio: Mapping[str, float] | None
    """The best peer's time over ours: above 1, ours is faster."""
    int8_peer: str | None
    """The best of those peers that compute in int8, too."""
    int8_ratio: Mapping[str, float] | None
    not_slower: str
    target: str
    drop: str


def verdict_of(records: Mapping[str, Record]) -> Verdict | None:
    """Of all routes of one model; `None` if nothing of ours was measured."""
    timed = {name: record for name, record in records.items() if "speed" in record}
    own = {route.name: timed[route.name] for route in OURS if route.name in timed}
    ours = _fastest({name: record for name, record in own.items() if _is_within(record)} or own)
    if ours is None:
        return None
    mine = timed[ours]
    int8_mine = _fastest(
        {route.name: own[route.name] for route in OURS if route.arithmetic == "int8" and route.name in own}
    )
    allowed = {
        route.name: timed[route.name] for route in PEERS if route.name in timed and counts(timed[route.name], mine)
    }
    int8 = {route.name: allowed[route.name] for route in PEERS if route.arithmetic == "int8" and route.name in allowed}
    peer, int8_peer = _fastest(allowed), _fastest(int8)
    ratio, int8_ratio = (None if name is None else mine["speed"]["over"][name] for name in (peer, int8_peer))
    target = "no int8 of ours" if int8_mine is None else _target(timed[int8_mine], list(int8.values()))
    return Verdict(ours, peer, ratio, int8_peer, int8_ratio, _not_slower(ratio), target, _drop(mine))


def counts(peer: Record, ours: Record) -> bool:
    """Rule 2."""
    limit = max(WITHIN, ours["quality"]["drop"]["value"])
    return not peer["faults"] and bool(peer["quality"]["drop"]["value"] <= limit)


def _fastest(records: Mapping[str, Record]) -> str | None:
    return min(records, key=lambda name: records[name]["speed"]["latency"]["median"]["value"], default=None)


def _not_slower(ratio: Mapping[str, float] | None) -> str:
    """Rule 3."""
    if ratio is None:
        return "yes, no peer counts"
    return "yes" if ratio["low"] >= SLOWER else "no" if ratio["high"] < SLOWER else "not told apart"


def _target(mine: Record, int8: list[Record]) -> str:
    """Rule 4."""
    found = _reached(mine)
    if found == "no" and all(_reached(peer) == "no" for peer in int8):
        return "best peer does not reach it"
    return found


def _reached(record: Record) -> str:
    ratio = record["speed"]["over"].get("compiled")
    if ratio is None:
        return "compiled does not run"
    return "yes" if ratio["low"] >= TARGET else "no" if ratio["high"] < TARGET else "not told apart"


def _is_within(record: Record) -> bool:
    return bool(record["quality"]["drop"]["value"] <= WITHIN)


def _drop(mine: Record) -> str:
    return "yes" if _is_within(mine) else "no"
