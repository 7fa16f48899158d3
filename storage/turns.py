"""Whose turn it is: priorities with ageing, so that nothing starves.

A job's turn is its creation plus `AGEING` seconds for each level of its priority; what waits is taken in the order of
turns. So priority 0 goes before priority 1 unless that one is older by more than `AGEING`, and a job of priority 9 is
overtaken by newer ones for nine times that at most. A turn does not change while one waits: it needs no renewal, and
an index keeps the order.

The steps of a job follow each other by `APART` seconds in the order they were planned in, so of those that are ready
the first goes first. A computation that several jobs wait for has the earliest turn of theirs.
"""

from __future__ import annotations

import math

__all__ = ["AGEING", "APART", "present_priority", "turn"]

AGEING = 600.0
"""Seconds of waiting that are worth one level of priority."""
_SLACK = 0.01
"""Of a level: what a step's place in its job's plan may add without counting as one."""
APART = 0.001
_LEVELS = 9


def turn(created_at: float, priority: int, position: int = 0) -> float:
    """Of a job's step, by the job's age and priority and the step's place in the plan; the smallest comes first."""
    return created_at + AGEING * priority + APART * position


def present_priority(turn: float, now: float) -> int:
    """The priority that something newly made would need to have the same turn: what the broker is to sort by."""
    return min(_LEVELS, max(0, math.ceil((turn - now) / AGEING - _SLACK)))
