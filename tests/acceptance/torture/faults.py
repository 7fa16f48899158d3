"""Strikes the blows of a plan, one after the other, and makes good what is to come back."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import redis
from sqlalchemy import func, select

from burnish.errors import Unavailable
from storage.doorbell import plan_queue
from storage.tables import computations, jobs
from tests.acceptance.torture.plan import Fault, Kind
from tests.acceptance.torture.stack import Stack

__all__ = ["Striker"]

Undo = Callable[[], None]
_PATIENCE = 10.0
"""Seconds that a blow waits for something to hit: a step that runs, a process that is up."""
_DELAY = 0.05
_LISTS = [
    f"burnish:{queue}" + (f"\x06\x16{priority}" if priority else "")
    for queue in ("cpu", plan_queue("cpu"))
    for priority in range(10)
]
"""Where Celery keeps the doorbells (`storage/doorbell.py`)."""


class Striker:
    """Call it from the main thread, which starts processes again."""

    def __init__(self, stack: Stack, seed: int) -> None:
        self._stack = stack
        self._dice = random.Random(seed)
        self._order = itertools.count()
        self._due: list[tuple[float, int, Undo]] = []
        self.struck: Counter[Kind] = Counter()
        self.missed: Counter[Kind] = Counter()
        """Blows that found nothing to hit."""
        self.mended: Counter[str] = Counter()
        """Processes that ended by themselves and were started again, as a supervisor would: each with its status and
        last words."""
        self._down: set[str] = set()
        """Those that are dead by our hand, for a while."""
        self._blows: dict[str, Callable[[Fault], Undo | None]] = {
            "kill_worker": lambda fault: self._kill(fault, self._stack.workers),
            "kill_api": lambda fault: self._kill(fault, ["api"]),
            "kill_tick": lambda fault: self._kill(fault, ["tick"]),
            "kill_broker": lambda fault: self._kill(fault, ["broker"]),
            "wipe_broker": self._wipe,
            "kill_api_server": lambda fault: self._kill_below(fault, ["api"], depth=1),
            "kill_zygote": lambda fault: self._kill_below(fault, self._stack.workers, depth=1),
            "kill_step": lambda fault: self._kill_below(fault, self._stack.workers, depth=2),
            "freeze_worker": self._freeze,
            "duplicate_doorbells": lambda _: self._duplicate(),
            "drop_doorbells": self._drop,
        }

    def strike_all(self, faults: Sequence[Fault]) -> None:
        """Goes through the faults by their times; what is to come back after the last one is left to `calm`."""
        start = time.monotonic()
        for fault in faults:
            self._until(start + fault.at)
            self._strike(fault)

    def calm(self) -> None:
        """Puts everything up again."""
        while self._due:
            heapq.heappop(self._due)[2]()
        self.mend()

    def mend(self) -> None:
        """Starts what ended by itself."""
        for name in self._stack.names:
            if name not in self._down and not self._stack.runs(name):
                self.mended[f"{name.partition('-')[0]}, {self._stack.last_words(name)}"] += 1
                self._stack.start(name)

    def _until(self, moment: float) -> None:
        """Sleeps until then, and meanwhile puts up again what has been down long enough."""
        while self._due and self._due[0][0] <= moment:
            time.sleep(max(0.0, self._due[0][0] - time.monotonic()))
            heapq.heappop(self._due)[2]()
        self.mend()
        time.sleep(max(0.0, moment - time.monotonic()))

    def _strike(self, fault: Fault) -> None:
        blow = self._blows.get(fault.kind, self._connections)
        until = time.monotonic() + _PATIENCE
        while (undo := blow(fault)) is None and time.monotonic() < until:
            self._until(time.monotonic() + 0.02)
        if undo is None:
            self.missed[fault.kind] += 1
            return
        self.struck[fault.kind] += 1
        heapq.heappush(self._due, (time.monotonic() + fault.seconds, next(self._order), undo))

    def _up(self, names: Sequence[str], target: int) -> str | None:
        """One of those that run and are not frozen."""
        running = self._running(names)
        return running[target % len(running)] if running else None

    def _running(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if self._stack.runs(name) and name not in self._stack.frozen]

    def _kill(self, fault: Fault, names: Sequence[str]) -> Undo | None:
        name = self._up(names, fault.target)
        if name is None:
            return None
        self._stack.kill(name)
        self._down.add(name)

        def undo() -> None:
            self._down.discard(name)
            self._stack.start(name)

        return undo

    def _wipe(self, fault: Fault) -> Undo | None:
        undo = self._kill(fault, ["broker"])
        if undo is not None:
            self._stack.forget_broker()
        return undo

    def _kill_below(self, fault: Fault, names: Sequence[str], *, depth: int) -> Undo | None:
        """A child of one of those (depth 1), or a child's child. One that has just been started may have none yet."""
        running = self._running(names)
        for number in range(len(running)):
            found = [self._stack.pid(running[(fault.target + number) % len(running)])]
            for _ in range(depth):
                found = [child for pid in found for child in _children(pid)]
            if found:
                with suppress(ProcessLookupError):
                    os.kill(found[fault.target % len(found)], signal.SIGKILL)
                    return lambda: None
        return None

    def _freeze(self, fault: Fault) -> Undo | None:
        name = self._up(self._stack.workers, fault.target)
        if name is None or len(self._stack.frozen) + 1 >= len(self._stack.workers):
            return None
        pids = self._stack.freeze(name)
        return lambda: self._stack.thaw(name, pids)

    def _connections(self, fault: Fault) -> Undo | None:
        what, _, which = fault.kind.partition("_")
        proxy = self._stack.proxies[which]
        match what:
            case "cut":
                proxy.cut()
                return lambda: None
            case "refuse":
                proxy.refuse(True)
                return lambda: proxy.refuse(False)
            case "stall":
                proxy.stall(True)
                return lambda: proxy.stall(False)
            case _:
                proxy.delay(_DELAY)
                return lambda: proxy.delay(0.0)

    def _duplicate(self) -> Undo | None:
        """Rings once more for some computations and jobs, whatever became of them."""
        with self._stack.database.read() as tx:
            keys = list(tx.execute(select(computations.c.key).order_by(func.random()).limit(20)).scalars())
            ids = list(tx.execute(select(jobs.c.id).order_by(func.random()).limit(5)).scalars())
        if not keys:
            return None
        try:
            for key in keys:
                self._stack.doorbell.step(key, "cpu", self._dice.randrange(10))
            for job_id in ids:
                self._stack.doorbell.plan(job_id, "cpu", 5)
        except Unavailable:
            return None
        return lambda: None

    def _drop(self, fault: Fault) -> Undo | None:
        """Takes doorbells that nobody hears of then, as a broker that loses messages would, for a while from the first.

        The broker serves who has stood in line longest. A worker, which hardly leaves a doorbell lying, goes to the end
        every second and after each one that it takes; the thief keeps its place until it is served.
        """
        with redis.Redis.from_url(self._stack.settings.broker_url, socket_timeout=_PATIENCE) as broker:
            try:
                thief = broker.connection_pool.get_connection()
                thief.send_command("BRPOP", *_LISTS, _PATIENCE)
                while not thief.can_read(0.02):
                    self._until(time.monotonic())
                if thief.read_response() is None:
                    return None
                until = time.monotonic() + fault.seconds
                while (left := until - time.monotonic()) > 0:
                    broker.brpop(_LISTS, timeout=left)
            except redis.RedisError:
                return None
        return lambda: None


def _children(pid: int) -> list[int]:
    """Its direct children."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found
