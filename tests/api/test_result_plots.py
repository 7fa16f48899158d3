"""What plots are drawn from: every candidate once, with its intervals, and nothing that was not measured."""

from __future__ import annotations

import json

import pytest

from api.result_plots import pareto, pareto_of_many, spread
from burnish.results import Limit, Verdict
from tests.api.place import candidate, verdict


def test_every_candidate_that_was_measured_is_a_point_that_leads_to_its_row() -> None:
    drawn = pareto(verdict())
    assert drawn is not None
    assert [(point["name"], point["kind"], point["href"]) for point in drawn["points"]] == [
        ("eager", "original", "#candidate-1"),
        ("compiled", "original", "#candidate-2"),
        ("original@onnxruntime", "other", "#candidate-3"),
        ("prune@onnxruntime", "chosen", "#candidate-4"),
    ]
    json.dumps(drawn)


def test_a_point_has_the_intervals_of_the_time_and_of_the_quality() -> None:
    drawn = pareto(verdict())
    assert drawn is not None
    point = drawn["points"][3]
    assert (point["xlow"], point["x"], point["xhigh"]) == pytest.approx((0.000495, 0.0005, 0.000505))
    assert (point["ylow"], point["y"], point["yhigh"]) == pytest.approx((0.955, 0.957, 0.959))
    assert point["size"] == 382_000
    assert drawn["points"][0]["y"] == 0.96
    assert "ylow" not in drawn["points"][0]


def test_limits_are_lines_where_the_goal_has_them() -> None:
    drawn = pareto(verdict())
    assert drawn is not None
    assert drawn["limits"] == {"x": None, "y": pytest.approx(0.955)}
    timed = verdict().model_copy(update={"limits": (Limit(name="max_latency", limit=0.001, value=0.0005, met=True),)})
    drawn = pareto(timed)
    assert drawn is not None
    assert drawn["limits"] == {"x": 0.001, "y": None}


def test_without_a_measure_of_quality_there_is_no_such_plot_but_one_of_times() -> None:
    alone = verdict().model_copy(update={"candidates": (candidate("eager", 2.0), candidate("compiled", 1.5))})
    assert pareto(alone) is None
    assert [row["name"] for row in (spread(alone) or {})["rows"]] == ["eager", "compiled"]


def test_the_spread_has_median_and_quantiles_of_each_and_leaves_out_who_was_refused() -> None:
    drawn = spread(verdict())
    assert drawn is not None
    assert [row["name"] for row in drawn["rows"]] == ["eager", "compiled", "original@onnxruntime", "prune@onnxruntime"]
    assert drawn["rows"][0]["median"] == 0.002
    assert drawn["rows"][0]["rows"] == [["calls", "100 in 20 rounds"]]


def test_points_of_several_jobs_know_their_job() -> None:
    drawn = pareto_of_many([("a", "/jobs/1", verdict()), ("b", "/jobs/2", verdict())])
    assert drawn is not None
    assert drawn["series"] == ["a", "b"]
    assert {(point["series"], point["href"]) for point in drawn["points"]} >= {
        ("a", "/jobs/1#candidate-1"), ("b", "/jobs/2#candidate-4"),
    }  # fmt: skip


def test_qualities_of_different_kinds_are_not_drawn_on_one_axis() -> None:
    result = verdict().model_dump()
    for part in result["candidates"]:
        if part["quality"]:
            part["quality"]["metric"] = "cosine"
    other = Verdict.model_validate(result)
    assert pareto_of_many([("a", "/jobs/1", verdict()), ("b", "/jobs/2", other)]) is None


def test_of_many_the_spread_has_the_original_the_chosen_and_the_fastest() -> None:
    many = tuple(candidate(f"v{n}@onnxruntime", 10.0 + n, 0.0, f"{n:064}") for n in range(30))
    result = verdict()
    drawn = spread(result.model_copy(update={"candidates": (*result.candidates, *many)}))
    assert drawn is not None
    names = [row["name"] for row in drawn["rows"]]
    assert len(names) == 12
    assert names[:4] == ["eager", "compiled", "original@onnxruntime", "prune@onnxruntime"]
    assert names[4:] == [f"v{n}@onnxruntime" for n in range(8)]
    assert drawn["rows"][4]["href"] == "#candidate-6"
