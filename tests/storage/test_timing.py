"""When schedules are due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from burnish.recipe import Trigger
from storage.timing import missed, next_due, trigger_faults


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def times(cron: str, after: str, count: int = 3, timezone: str = "Europe/Berlin") -> list[str]:
    """The next times, in UTC."""
    trigger, found, last = Trigger(cron=cron, timezone=timezone), [], at(after)
    for _ in range(count):
        due = next_due(trigger, anchor=0.0, after=last)
        assert due is not None
        last = due
        found.append(datetime.fromtimestamp(last, UTC).strftime("%m-%d %H:%M"))
    return found


def test_a_cron_expression_is_read_in_its_zone_winter_and_summer() -> None:
    assert times("0 3 * * *", "2026-01-10T12:00:00Z", 1) == ["01-11 02:00"]
    assert times("0 3 * * *", "2026-07-10T12:00:00Z", 1) == ["07-11 01:00"]


def test_a_time_that_summer_time_skips_is_due_right_after_the_gap() -> None:
    """On 2026-03-29, 02:00 is 03:00 in Berlin: there is no 02:30."""
    assert times("30 2 * * *", "2026-03-28T12:00:00Z") == ["03-29 01:00", "03-30 00:30", "03-31 00:30"]


def test_a_time_that_comes_twice_is_due_once() -> None:
    """On 2026-10-25, 02:30 comes at 00:30 and again at 01:30 UTC."""
    assert times("30 2 * * *", "2026-10-24T12:00:00Z") == ["10-25 00:30", "10-26 01:30", "10-27 01:30"]
    assert times("30 2 * * *", "2026-10-25T00:45:00Z", 1) == ["10-26 01:30"]


def test_every_hour_is_due_in_both_of_the_doubled_hours_and_not_in_the_skipped_one() -> None:
    assert times("30 * * * *", "2026-10-24T23:45:00Z") == ["10-25 00:30", "10-25 01:30", "10-25 02:30"]
    assert times("30 * * * *", "2026-03-29T00:00:00Z") == ["03-29 00:30", "03-29 01:30", "03-29 02:30"]


def test_an_interval_counts_from_when_it_was_set() -> None:
    trigger = Trigger.model_validate({"every": "6h"})
    assert next_due(trigger, anchor=1000.0, after=1000.0) == 1000.0 + 21600
    assert next_due(trigger, anchor=1000.0, after=1000.0 + 21600) == 1000.0 + 2 * 21600
    assert next_due(trigger, anchor=1000.0, after=1000.0 + 5.5 * 21600) == 1000.0 + 6 * 21600


def test_an_occasion_is_never_due_by_time() -> None:
    trigger = Trigger(on="model")
    assert next_due(trigger, anchor=0.0, after=5.0) is None
    assert missed(trigger, due=0.0, now=1e9) == 0


def test_missed_times_are_counted_to_a_thousand() -> None:
    assert missed(Trigger(every=60.0), due=600.0, now=600.0) == 0
    assert missed(Trigger(every=60.0), due=600.0, now=900.0) == 5
    assert missed(Trigger(cron="* * * * *"), due=600.0, now=900.0) == 5
    assert missed(Trigger(cron="* * * * *"), due=600.0, now=1e8) == 1000
    assert missed(Trigger(every=60.0), due=600.0, now=1e8) == 1000


@pytest.mark.parametrize("cron", ["x", "0 3 * *", "61 * * * *", "0 0 31 2 *", "0 0 * * 8", "* * * * * *"])
def test_a_bad_expression_is_named(cron: str) -> None:
    (fault,) = trigger_faults(Trigger(cron=cron))
    assert fault.where == "/trigger/cron"
    assert cron in fault.message


@pytest.mark.parametrize("zone", ["Europe/Bonn", "Europe", "../UTC", "/etc/passwd"])
def test_an_unknown_zone_is_named(zone: str) -> None:
    (fault,) = trigger_faults(Trigger(cron="0 3 * * *", timezone=zone))
    assert (fault.where, zone in fault.message) == ("/trigger/timezone", True)


def test_both_faults_are_named_at_once_and_a_good_trigger_has_none() -> None:
    assert len(trigger_faults(Trigger(cron="x", timezone="y"))) == 2
    assert trigger_faults(Trigger(cron="0 3 * * 1-5", timezone="Asia/Kathmandu")) == []
    assert trigger_faults(Trigger(every=60.0)) == []
