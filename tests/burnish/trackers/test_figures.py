"""What every tracker shows of a job: names with units, nothing that was not measured, no number that is none."""

from __future__ import annotations

import pytest

from burnish.errors import Conflict
from burnish.results import Candidate, Estimate, Latency
from burnish.trackers.figures import (
    candidate_figures,
    job_figures,
    job_parameters,
    step_figures,
    texts,
    verdict_of,
)
from tests.burnish.results import job, judged, step


def test_parameters_are_named_by_their_path_and_what_was_left_out_is_left_out() -> None:
    found = job_parameters(judged())
    assert (found["model"], found["passes.0.prune.ratio"], found["target.device"]) == ("net:1", 0.5, "cpu")
    assert "goal.max_drop" not in found


def test_a_candidate_has_its_median_with_interval_and_both_speed_ups() -> None:
    found = candidate_figures(judged().verdict.candidates[3])  # type: ignore[union-attr]
    low, value, high = (found[f"latency_median_seconds{end}"] for end in ("_low", "", "_high"))
    assert low < value == 0.0005 < high
    assert {"speedup_over_eager_low", "speedup_over_compiled_high", "quality_drop", "quality_top1"} <= set(found)
    assert found["size_bytes"] == 382_000


def test_quantiles_are_named_by_their_percentage() -> None:
    latency = Latency(
        median=Estimate(value=1.0, low=1.0, high=1.0), p95=2.0, rounds=1, calls=1, quantiles={"0.05": 1, "0.5": 1}
    )
    found = candidate_figures(Candidate(name="a", variant="a", backend="eager", latency=latency))
    assert {"latency_q05_seconds", "latency_q50_seconds"} <= set(found)


def test_what_was_not_measured_is_left_out_of_the_figures() -> None:
    assert candidate_figures(Candidate(name="a", variant="a", backend="eager", refused="no")) == {}


def test_a_pass_tells_its_losses_and_what_is_no_number_is_left_out() -> None:
    figures = {"loss_after": 0.25, "broken": float("nan"), "endless": float("inf"), "word": "x", "flag": True}
    found = step_figures(step("distill", "pass:distill", "done", report={"figures": figures, "parameters": 3}))
    assert found == {"seconds": 2.0, "loss_after": 0.25, "parameters": 3.0}


def test_the_job_has_its_time_and_its_hits() -> None:
    found = job_figures(judged())
    assert (found["job_seconds"], found["steps"], found["steps_from_cache"]) == (60.0, 4.0, 1.0)
    assert "quality_drop" not in found


def test_the_texts_are_the_verdict_the_limits_the_place_and_the_usage() -> None:
    found = texts(judged())
    assert found["verdict"].startswith("**improved**: 4.0× faster")
    assert found["limits"] == "- max_drop: 0.003 (limit 0.005), met"
    assert "torch 2.13.0" in found["environment"]
    assert "import onnxruntime" in found["usage"]


@pytest.mark.parametrize(("state", "cure"), [("running", "burnish watch job_1"), ("failed", "has succeeded")])
def test_a_job_without_verdict_is_refused(state: str, cure: str) -> None:
    with pytest.raises(Conflict, match=f"is {state} and has no verdict") as caught:
        verdict_of(job(state=state))
    assert cure in caught.value.cure
