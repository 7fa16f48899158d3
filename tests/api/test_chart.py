"""The chart of latency against quality."""

from __future__ import annotations

from itertools import combinations

from api.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, chart_of
from burnish.results import Limit, Verdict
from tests.api.place import candidate, verdict


def test_faster_is_further_left_and_better_is_higher() -> None:
    chart = chart_of(verdict())
    assert chart is not None
    marks = {mark.name: mark for mark in chart.marks}
    assert marks["prune@onnxruntime"].x < marks["original@onnxruntime"].x < marks["compiled"].x < marks["eager"].x
    assert marks["prune@onnxruntime"].y > marks["original@onnxruntime"].y == marks["eager"].y
    assert [mark.kind for mark in chart.marks] == ["original", "original", "other", "chosen"]


def test_numbers_are_those_of_the_table_and_what_was_refused_has_no_mark() -> None:
    chart = chart_of(verdict())
    assert chart is not None
    assert [mark.number for mark in chart.marks] == [1, 2, 3, 4]
    assert "4: prune@onnxruntime, 500 µs, 95.70 %." in chart.description


def test_everything_lies_inside_and_intervals_lie_around_their_mark() -> None:
    chart = chart_of(verdict())
    assert chart is not None
    for mark in chart.marks:
        assert LEFT <= mark.x_low <= mark.x <= mark.x_high <= WIDTH - RIGHT
        assert TOP <= mark.y_high <= mark.y <= mark.y_low <= HEIGHT - BOTTOM
    assert all(LEFT <= tick.at <= WIDTH - RIGHT for tick in chart.x_ticks)
    assert all(TOP <= tick.at <= HEIGHT - BOTTOM for tick in chart.y_ticks)
    assert 3 <= len(chart.x_ticks) <= 9


def test_numbers_do_not_cover_each_other_where_marks_crowd() -> None:
    crowd = tuple(candidate(f"v{i}@onnxruntime", 1.0 + i / 500, 0.001) for i in range(4))
    chart = chart_of(verdict().model_copy(update={"candidates": (candidate("eager", 2.0), *crowd)}))
    assert chart is not None
    for one, other in combinations(chart.marks, 2):
        assert abs(one.label_x - other.label_x) > 12 or abs(one.label_y - other.label_y) > 12


def test_limits_show_where_they_are_in_sight() -> None:
    limits = (
        Limit(name="max_drop", limit=0.003, value=0.003, met=True),
        Limit(name="max_latency", limit=1e-3, value=5e-4, met=True),
    )
    chart = chart_of(verdict().model_copy(update={"limits": limits}))
    assert chart is not None
    assert chart.floor_y == next(mark.y for mark in chart.marks if mark.kind == "chosen")
    assert chart.ceiling_x is not None
    far = (
        Limit(name="max_drop", limit=0.5, value=0.0, met=True),
        Limit(name="max_latency", limit=9, value=0, met=True),
    )
    out_of_sight = chart_of(verdict().model_copy(update={"limits": far}))
    assert out_of_sight is not None
    assert (out_of_sight.floor_y, out_of_sight.ceiling_x) == (None, None)


def test_there_is_no_chart_of_one_or_of_no_quality() -> None:
    def only(*candidates: object) -> Verdict:
        return verdict().model_copy(update={"candidates": candidates})

    assert chart_of(only(candidate("eager", 1.0), candidate("compiled", 1.0))) is None
    assert chart_of(only(candidate("a@onnxruntime", 1.0, 0.0))) is None
    assert chart_of(only()) is None


def test_equal_qualities_still_have_an_axis() -> None:
    same = (candidate("eager", 1.0), candidate("a@onnxruntime", 1.0, 0.0))
    chart = chart_of(verdict().model_copy(update={"candidates": same}))
    assert chart is not None
    assert len(chart.y_ticks) >= 2
