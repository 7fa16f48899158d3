"""The estimate of what is left, and what it does not know."""

from __future__ import annotations

from datetime import timedelta

import pytest

from burnish.cli.time_left import TimeLeft, duration, time_left
from burnish.resources import StepResource
from tests.burnish.results import BEGAN, job, step

PASSES = [{"prune": {"ratio": 0.5}}, {"distill": {}}]


def _preflight(*estimates: float) -> StepResource:
    return step("preflight", "preflight", "done", report={"passes": [{"estimate": each} for each in estimates]})


def _after(seconds: float, *steps: StepResource, passes: object = PASSES) -> TimeLeft:
    return time_left(job(*steps, passes=passes), BEGAN + timedelta(seconds=seconds))


def test_passes_take_what_the_pre_flight_says_each() -> None:
    steps = _preflight(10.0, 30.0), step("prune", "pass:prune"), step("distill", "pass:distill")
    assert _after(0, *steps) == TimeLeft(40.0, ())


def test_a_step_that_tells_how_far_it_is_is_scaled_by_that() -> None:
    running = step("prune", "pass:prune", "leased", progress=0.25)
    assert _after(20, _preflight(10.0), running).seconds == pytest.approx(60.0)


def test_a_step_that_only_marks_its_parts_is_not_scaled() -> None:
    done = step("as-is/lower@inductor", "lower", "done", seconds=20.0)
    assert _after(5, done, step("lower@inductor", "lower", "leased", progress=0.1)) == TimeLeft(15.0, ())


def test_what_a_running_step_has_had_is_taken_off() -> None:
    assert _after(4, _preflight(10.0), step("prune", "pass:prune", "leased")) == TimeLeft(6.0, ())


def test_one_that_takes_longer_than_estimated_is_not_known() -> None:
    found = _after(40, _preflight(10.0), step("prune", "pass:prune", "leased"))
    assert (found.seconds, found.unknown) == (0.0, ("prune",))


def test_other_steps_take_as_long_as_their_kind_on_their_backend_did() -> None:
    done = [
        step("as-is/lower@inductor", "lower", "done", seconds=8.0),
        step("as-is/lower@openvino", "lower", "done", seconds=2.0, hit=True),
    ]
    found = _after(0, *done, step("lower@inductor", "lower"), step("lower@openvino", "lower"), step("m", "measure"))
    assert found == TimeLeft(10.0, ("measure",))


def test_a_search_estimates_a_pass_by_those_of_earlier_variants() -> None:
    done = [step("a/quantize", "pass:quantize", "done", seconds=4.0)]
    assert _after(0, *done, step("b/quantize", "pass:quantize"), passes=()) == TimeLeft(4.0, ())


def test_a_clock_that_runs_behind_the_service_counts_as_no_time() -> None:
    assert _after(-60, _preflight(10.0), step("prune", "pass:prune", "leased", progress=0.5)).seconds == 10.0


def test_the_words_say_about_and_name_what_is_not_counted() -> None:
    assert TimeLeft(75.4, ("lower", "measure")).lines() == [
        "about 75 s left", "not counted: lower, measure (not known yet)",
    ]  # fmt: skip
    assert TimeLeft(0.0, ("capture",)).lines() == ["time left: not known yet"]
    assert TimeLeft(0.0, ()).lines() == []


def test_where_most_is_not_known_no_time_is_said() -> None:
    steps = step("measure", "measure", "leased", progress=0.5), step("split", "split"), step("capture", "capture")
    assert _after(20, *steps).lines() == ["time left: not known yet"]
    assert _after(20, *steps[:2]).lines() == ["about 20 s left", "not counted: split (not known yet)"]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3500, "58 min"), (4800, "1 h 20 min")]
)
def test_a_duration_is_no_finer_than_an_estimate(seconds: float, words: str) -> None:
    assert duration(seconds) == words
