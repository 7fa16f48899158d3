"""When a schedule is due: by cron in a time zone, or by interval.

1. Cron expressions have five fields and are read as Debian's cron reads them (`cronsim`): a fixed time that falls into
   the hour that summer time skips is due right after the gap; one that comes twice is due the first time alone; a job
   of every hour or minute runs in both of the doubled hours.
2. Intervals count from the moment the trigger was set, whatever the clock on the wall does.
3. Times that passed while nobody ticked are one firing, however many they were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from burnish.errors import Fault
from burnish.recipe import Trigger

__all__ = ["missed", "next_due", "trigger_faults"]

_FIELDS = 5
_COUNTED = 1000
"""Missed times are counted up to here."""


def trigger_faults(trigger: Trigger, at: str = "/trigger") -> list[Fault]:
    """What is wrong with a trigger's cron expression and its time zone: each, with its path below `at`."""
    if trigger.cron is None:
        return []
    found = []
    if _zone(trigger.timezone) is None:
        found.append(
            Fault(
                where=f"{at}/timezone",
                message=f"There is no time zone {trigger.timezone!r}.",
                cure="Use a name of the IANA list, like Europe/Berlin or UTC.",
            )
        )
    reason = _cron_fault(trigger.cron)
    if reason is not None:
        found.append(
            Fault(
                where=f"{at}/cron",
                message=f"{trigger.cron!r} is no cron expression that ever fires: {reason}.",
                cure="Write minute, hour, day of the month, month and day of the week, like `0 3 * * *`.",
            )
        )
    return found


def next_due(trigger: Trigger, *, anchor: float, after: float) -> float | None:
    """The first time after `after` (seconds since 1970) that it is due; `None` if its trigger is no time.

    Args:
        anchor: when the trigger was set.
    """
    if trigger.every is not None:
        return anchor + trigger.every * (math.floor(max(after - anchor, 0.0) / trigger.every) + 1)
    if trigger.cron is None:
        return None
    return next(_times(trigger, after), None)


def missed(trigger: Trigger, *, due: float, now: float) -> int:
    """How many more times it was due after `due`, up to `now`; a thousand at most."""
    if trigger.every is not None:
        return min(_COUNTED, math.floor(max(now - due, 0.0) / trigger.every))
    count = 0
    for time in _times(trigger, due) if trigger.cron is not None else ():
        if time > now or count == _COUNTED:
            break
        count += 1
    return count


def _times(trigger: Trigger, after: float) -> Iterator[float]:
    zone = _zone(trigger.timezone) or ZoneInfo("UTC")
    found = CronSim(str(trigger.cron), datetime.fromtimestamp(after, UTC).astimezone(zone))
    return (time.timestamp() for time in found)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no relative path; a folder of zones
        return None


def _cron_fault(text: str) -> str | None:
    if len(text.split()) != _FIELDS:
        return f"it has {len(text.split())} fields, not {_FIELDS}"
    try:
        first = next(CronSim(text, datetime(2024, 1, 1, tzinfo=UTC)), None)
    except CronSimError as error:
        return str(error).lower()
    return None if first is not None else "no day of the calendar fits it"
