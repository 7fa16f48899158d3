"""Fires schedules that are due: what the tick does for them in each of its rounds.

Any number of ticks may do so at once. Each schedule is taken by compare-and-set on its revision, in the transaction
that makes the job (`storage/schedules.py`), so it fires once. What was missed while nobody ticked is one firing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from burnish.errors import Conflict, NotFound, Unavailable
from storage import firings, occasions, schedules, timing
from storage.database import Database, Transaction
from storage.firing import Cause, fire, fire_waiting, skip
from storage.firings import Firing
from storage.schedules import Schedule

__all__ = ["Scheduler"]

logger = logging.getLogger(__name__)

_LOOK_EVERY = 3.0
"""Seconds between two looks at occasions: new uploads and workers."""
_LOOK_AGAIN = 3600.0
"""Seconds between two looks at a schedule whose trigger another version of Burnish wrote."""


class Scheduler:
    """One round is `once`."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._looked = float("-inf")

    def once(self) -> list[Firing]:
        """Fires what is due, what waited for a job that has ended, and, every few seconds, what has news.

        The jobs it makes are rung for like all that are queued.

        Raises:
            Unavailable: SQL is away.
        """
        with self._database.read() as tx:
            due, freed = schedules.due(tx), firings.freed(tx)
        done = [self._each(schedule.id, schedule.name, partial(_due, schedule=schedule)) for schedule in due]
        done += [self._each(firing.schedule_id, firing.schedule_id, partial(_freed, firing=firing)) for firing in freed]
        if self._clock() - self._looked >= _LOOK_EVERY:
            done += self._news()
            self._looked = self._clock()
        return [firing for firing in done if firing is not None]

    def _news(self) -> list[Firing | None]:
        with self._database.read() as tx:
            fresh = [each for each in schedules.waiting_for_news(tx) if _news_of(tx, each)]
        return [self._each(each.id, each.name, partial(_occasion, schedule=each)) for each in fresh]

    def _each(self, schedule_id: str, name: str, work: Callable[[Transaction], Firing | None]) -> Firing | None:
        """One schedule in a transaction of its own: its faults are not those of the others."""
        try:
            with self._database.begin() as tx:
                firing = work(tx)
        except Unavailable:
            raise
        except Exception as error:  # a fault of ours; the tick has to go on with all else
            logger.exception("Schedule %s (%s) can't be fired", name, schedule_id)
            return self._note(schedule_id, error)
        if firing is not None:
            logger.info("Schedule %s: %s. %s", name, firing.outcome, firing.reason)
        return firing

    def _note(self, schedule_id: str, error: Exception) -> Firing | None:
        """Notes in the history that it could not be fired, and goes on to the next time."""
        with self._database.begin() as tx:
            try:
                schedule = schedules.get(tx, schedule_id)
            except NotFound:
                return None
            if not schedules.take(tx, schedule, **_moved_on(tx, schedule)):
                return None
            why = f"It failed, by a fault of Burnish: {error}"
            firings.end_waiting(tx, schedule_id, why)
            return skip(tx, schedule, Cause(_cause(schedule), ""), why)


def _due(tx: Transaction, schedule: Schedule) -> Firing | None:
    """Fires one whose time has come, unless another tick did."""
    assert schedule.next_at is not None
    trigger = schedule.trigger  # where another version of Burnish wrote it, `fire` says so in the history
    missed = timing.missed(trigger, due=schedule.next_at, now=tx.now) if trigger else 0
    if not schedules.take(tx, schedule, **_moved_on(tx, schedule)):
        return None
    reason = f"It was due at {_moment(schedule.next_at)}."
    if missed:
        times = "once" if missed == 1 else f"{missed} times"
        reason += f" Nobody ticked meanwhile: it was due {times} more, and this is for all."
    return fire(tx, schedule, Cause(_cause(schedule), reason, schedule.next_at))


def _occasion(tx: Transaction, schedule: Schedule) -> Firing | None:
    """Fires one that has news, unless another tick did."""
    found = _news_of(tx, schedule)
    if found is None or not schedules.take(tx, schedule, seen=found[1]):
        return None
    return fire(tx, schedule, Cause(_cause(schedule), found[0]))


def _freed(tx: Transaction, firing: Firing) -> Firing | None:
    """Fires one that waited for the job before, unless another tick did, or it is deleted or paused."""
    try:
        schedule = schedules.get(tx, firing.schedule_id)
    except NotFound:
        return None
    if not schedules.take(tx, schedule) or firings.get(tx, firing.id).outcome != "waiting":
        return None
    return fire_waiting(tx, schedule, firing)


def _news_of(tx: Transaction, schedule: Schedule) -> tuple[str, occasions.Look] | None:
    look = _look(tx, schedule)
    return None if look is None else occasions.news(schedule.seen, look)


def _look(tx: Transaction, schedule: Schedule) -> occasions.Look | None:
    try:
        return occasions.look(tx, schedule.read())
    except Conflict:  # written by another version of Burnish: whoever looks at it or runs it by hand is told
        return None


def _moved_on(tx: Transaction, schedule: Schedule) -> dict[str, object]:
    """The columns of a schedule that has been fired now; one whose times this version can't tell is looked at again
    after a while, perhaps by another."""
    if schedule.occasion is not None:
        return {"seen": _look(tx, schedule) or schedule.seen}
    if schedule.next_at is None:
        return {}
    trigger = schedule.trigger
    following = timing.next_due(trigger, anchor=schedule.anchor, after=tx.now) if trigger else tx.now + _LOOK_AGAIN
    return {"next_at": following}


def _cause(schedule: Schedule) -> str:
    if schedule.occasion is not None:
        return schedule.occasion
    trigger = schedule.trigger
    if trigger is None:  # another version of Burnish wrote it
        return "unknown"
    return "every" if trigger.every is not None else "cron"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
