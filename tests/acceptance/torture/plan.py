"""What a run of the torture does and when: jobs and faults, derived from the seed alone, so that it can be repeated."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, Literal

__all__ = ["ANYWHERE", "PROXIED", "Fault", "Kind", "Order", "Plan"]

Kind = Literal[
    "kill_worker", "kill_step", "kill_zygote", "freeze_worker", "kill_api", "kill_api_server", "kill_tick",
    "kill_broker", "wipe_broker", "duplicate_doorbells", "drop_doorbells",
    "cut_sql", "refuse_sql", "stall_sql", "delay_sql", "cut_s3", "refuse_s3", "stall_s3", "delay_s3",
]  # fmt: skip

ANYWHERE: tuple[Kind, ...] = (
    "kill_worker", "kill_step", "kill_zygote", "freeze_worker", "kill_api", "kill_api_server", "kill_tick",
    "kill_broker", "wipe_broker", "duplicate_doorbells", "drop_doorbells",
)  # fmt: skip
"""What can go wrong on the embedded stack too."""
PROXIED: tuple[Kind, ...] = (
    "cut_sql", "refuse_sql", "stall_sql", "delay_sql", "cut_s3", "refuse_s3", "stall_s3", "delay_s3",
)  # fmt: skip
"""What happens to connections, where there are any."""

_SECONDS: dict[str, tuple[float, float]] = {
    "freeze_worker": (4.5, 6.0),  # longer than the lease of 3 s
    "duplicate_doorbells": (0.0, 0.0),
    "drop_doorbells": (0.2, 0.8),
    "kill_step": (0.0, 0.0),
    "kill_zygote": (0.0, 0.0),
    "cut_sql": (0.0, 0.0),
    "cut_s3": (0.0, 0.0),
}
_DOWN = (0.3, 1.5)
"""Seconds that anything else is away."""
_LONG = 120.0
"""Seconds of a run from which on the store is away once for longer than three attempts at a step take."""
_OUTAGE = (20.0, 30.0)
_LENGTHS = 4
"""How many times as long as planned the blows may take with jobs coming all the time."""
_OPS = ("capture", "split", "pass:quantize", "lower", "verify", "measure")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One blow."""

    at: float
    """Seconds after the start."""
    kind: Kind
    target: int
    """Which one of several; taken modulo how many there are."""
    seconds: float
    """How long what was hit stays so."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One job that is submitted, and what its owner does next."""

    at: float
    number: int
    family: int
    """Jobs of one family have the same model, and share what their recipes have in common."""
    seed: int
    """The recipe's."""
    priority: int
    twice: bool
    """The request is sent again after it was accepted, with the same idempotency key."""
    then: Literal["wait", "cancel", "cancel, retry", "hurry"]
    after: float
    """Seconds from acceptance to that."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All of it."""

    seed: int
    seconds: float
    """Length of the part with blows; then everything is put up again, and all jobs have to end."""
    scripts: tuple[dict[str, Any], ...] = field(repr=False)
    """What the steps of each family do (`tests/acceptance/scripted.py`)."""
    jobs: int
    """Orders that are placed whatever happens; those behind them only until the last blow has fallen."""
    orders: tuple[Order, ...] = field(repr=False)
    faults: tuple[Fault, ...] = field(repr=False)

    @classmethod
    def derive(cls, seed: int, *, jobs: int, faults: int, seconds: float, kinds: tuple[Kind, ...]) -> Plan:
        """The same arguments give the same plan, on any machine. Every kind comes before any comes again. How long a
        blow waits for something to hit depends on the machine, so there are more orders than `jobs`."""
        dice = random.Random(seed)
        families = max(1, jobs // 3)
        scripts = [{"seed": seed, "family": family, **_script(dice)} for family in range(families * _LENGTHS)]
        orders = [
            _order(dice, number, number // jobs * families + dice.randrange(families), seconds * number / jobs)
            for number in range(jobs * _LENGTHS)
        ]
        faults_ = _faults(dice, faults, seconds, kinds)
        return cls(
            seed=seed, seconds=seconds, scripts=tuple(scripts), jobs=jobs, orders=tuple(orders), faults=tuple(faults_)
        )


def _script(dice: random.Random) -> dict[str, Any]:
    """Most are quick; some take a while, leave a process behind, or can't be done."""
    op, luck = dice.choice(_OPS), dice.random()
    if luck < 0.05:
        return {op: {"raise": "user"}}
    if luck < 0.08:
        return {op: {"end": "SIGKILL"}}
    if luck < 0.10:
        return {op: {"raise": "internal"}}
    if luck < 0.20:
        return {op: {"child": True, "seconds": 0.3}}
    if luck < 0.55:
        return {op: {"seconds": round(dice.uniform(0.1, 0.8), 2)}}
    return {}


def _order(dice: random.Random, number: int, family: int, at: float) -> Order:
    luck = dice.random()
    return Order(
        at=at,
        number=number,
        family=family,
        seed=dice.randrange(2),
        priority=dice.randrange(10),
        twice=dice.random() < 0.2,
        then="cancel" if luck < 0.06 else "cancel, retry" if luck < 0.12 else "hurry" if luck < 0.2 else "wait",
        after=dice.uniform(0.0, 1.5),
    )


def _faults(dice: random.Random, count: int, seconds: float, kinds: tuple[Kind, ...]) -> list[Fault]:
    found: list[Fault] = []
    bag: list[Kind] = []
    for number in range(count):
        if not bag:
            bag = list(kinds)
            dice.shuffle(bag)
        kind = bag.pop()
        low, high = _SECONDS.get(kind, _DOWN)
        at = 0.9 * seconds * (number + dice.random()) / count
        found.append(Fault(at=at, kind=kind, target=dice.randrange(1000), seconds=dice.uniform(low, high)))
    if seconds >= _LONG and "refuse_s3" in kinds:
        index = next(index for index, fault in enumerate(found) if fault.kind == "refuse_s3")
        found[index] = replace(found[index], seconds=dice.uniform(*_OUTAGE))
    return found
