"""How figures read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from api import formatting
from burnish.recipe import Goal
from burnish.resources import EventResource
from burnish.results import Estimate, Limit


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0 s"), (1.234e-6, "1.23 µs"), (0.5, "500 ms"), (59.0, "59 s"), (125.4, "2 min 5 s"),
     (3725.0, "1 h 2 min")],
)  # fmt: skip
def test_times_are_in_the_unit_that_suits_them(value: float | None, shown: str) -> None:
    assert formatting.seconds(value) == shown


def test_an_interval_has_its_unit_once_where_it_is_the_same() -> None:
    same = Estimate(value=0.002, low=0.0019, high=0.0021)
    mixed = Estimate(value=0.001, low=0.00099, high=0.00101)
    assert formatting.interval(same, "seconds") == "2 ms <small>[1.9, 2.1]</small>"
    assert formatting.interval(mixed, "seconds") == "1 ms <small>[990 µs, 1.01 ms]</small>"
    assert formatting.interval(Estimate(value=0.0, low=-0.002, high=0.002), "points") == (
        "0.00 % <small>[−0.20, 0.20]</small>"
    )
    assert formatting.interval(None, "times") == "–"


def test_each_limit_reads_as_a_sentence() -> None:
    def words(name: str, limit: float, value: float) -> str:
        return formatting.limit_words(Limit.model_validate({"name": name, "limit": limit, "value": value, "met": True}))

    assert words("max_drop", 0.005, 0.001) == "Drop 0.10 %, limit 0.50 %"
    assert words("max_size", 2e6, 1e6) == "Size 1 MB, limit 2 MB"
    assert words("max_latency", 0.001, 0.0005) == "A call takes 500 µs, limit 1 ms"
    assert words("faster", 1.0, 1.2) == "Lower end of the speed-up 1.20×, has to be above 1.00×"


@pytest.mark.parametrize(
    ("schema", "shown"),
    [({"$ref": "#/components/schemas/Verdict"}, "Verdict"),
     ({"type": "array", "items": {"type": "string"}}, "list of string"),
     ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"), ({"enum": ["a", "b"]}, '"a" | "b"'),
     ({"const": 1}, "1"), ({"type": "string", "format": "date-time"}, "date-time"), ({}, "any")],
)  # fmt: skip
def test_a_schema_reads_as_a_type(schema: dict[str, object], shown: str) -> None:
    assert formatting.type_of(schema) == shown


def test_details_keep_the_lines_of_a_log() -> None:
    assert formatting.pretty({"log": "one\ntwo", "signal": 9}) == "log: one\ntwo\nsignal: 9"


def test_moments_are_in_utc() -> None:
    assert formatting.clock(datetime(2026, 1, 2, 3, 4, tzinfo=UTC)) == "2026-01-02 03:04 UTC"


def test_names_in_backticks_become_code_and_all_is_escaped() -> None:
    assert formatting.prose("a `<b>` & c") == "a <code>&lt;b&gt;</code> &amp; c"
    assert formatting.prose(None) == ""


@pytest.mark.parametrize(
    ("goal", "shown"),
    [
        ({}, "least latency"),
        ({"minimize": "size", "max_drop": "0.5%"}, "least size, drop ≤ 0.50 %"),
        ({"max_size": "2MB", "max_latency": "5ms"}, "least latency, size ≤ 2 MB, time ≤ 5 ms"),
    ],
)
def test_a_goal_is_one_line(goal: dict[str, str], shown: str) -> None:
    assert formatting.goal_words(Goal.model_validate(goal)) == shown


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("log", {"line": "epoch {1}: 0.5"}, "epoch {1}: 0.5"),
        ("job.planned", {"steps": ["a", "b"]}, "planned: 2 steps"),
        ("job.succeeded", {"outcome": "no_gain"}, "has its verdict: no gain"),
        ("step.retry", {}, "will be tried again"),
        ("step.failed", {"message": "killed"}, "failed: killed"),
        ("step.unheard_of", {}, "step.unheard_of"),
    ],
)
def test_an_event_is_one_line_of_the_log(kind: str, data: dict[str, object], shown: str) -> None:
    event = EventResource(id=1, at=datetime(2026, 1, 1, tzinfo=UTC), kind=kind, step=None, data=data)
    assert formatting.event_words(event) == shown


def test_a_long_name_may_go_on_behind_its_signs_and_stays_text() -> None:
    assert formatting.breakable("a+b@<c>") == "a+<wbr>b@<wbr>&lt;c&gt;"


def test_a_moment_in_a_list_has_its_year_only_if_it_is_another() -> None:
    now = datetime.now(UTC)
    assert str(now.year) not in formatting.short_clock(now)
    assert formatting.short_clock(datetime(2001, 2, 3, 4, 5, tzinfo=UTC)) == "3 Feb 2001 04:05"
