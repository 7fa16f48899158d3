"""From the upload to each artifact, and figures over versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from api.lineage import quality_plot, result_of, speed_plot, steps_to
from storage import jobs, steps
from storage.records import Job, Step
from storage.steps import PlannedStep
from tests.api.place import Place, verdict

ARTIFACT = "a" * 64


def planned(name: str, op: str, program: str) -> PlannedStep:
    return PlannedStep(name=name, op=op, spec={"inputs": {"program": program}}, queue="cpu")


def run(place: Place, name: str = "net") -> tuple[Job, list[Step]]:
    """A job with a verdict whose chosen artifact came of capture, prune and lower."""
    place.worker()
    job = place.job(name=name)
    chain = [
        PlannedStep(name="capture", op="capture", spec={"inputs": {"model": "sha256:" + "0" * 64}}, queue="cpu"),
        planned("prune", "pass:prune", "capture.program"),
        planned("lower@onnxruntime", "lower", "prune.program"),
        planned("as-is/lower@onnxruntime", "lower", "capture.program"),
    ]
    with place.database.begin() as tx:
        jobs.plan(tx, job.id, chain)
    for step in chain:
        claim = place.start(job, step.name)
        assert claim is not None
        place.finish(claim, {"artifact": ARTIFACT if step.name == "lower@onnxruntime" else "f" * 64})
    place.succeed(job, verdict(ARTIFACT))
    with place.database.read() as tx:
        return jobs.get(tx, job.id), steps.of_job(tx, job.id)


def test_the_way_to_an_artifact_is_that_of_its_program(place: Place) -> None:
    _, every = run(place)
    assert steps_to(every, ARTIFACT) == ("capture", "prune", "lower@onnxruntime")
    assert steps_to(every, "f" * 64) == ("capture", "as-is/lower@onnxruntime")
    assert steps_to(every, "0" * 64) == ()


def test_a_result_tells_what_was_made_the_chosen_one_first(place: Place) -> None:
    found = result_of(*run(place))
    assert found is not None
    assert [(made.candidate.name, made.chosen) for made in found.made] == [
        ("prune@onnxruntime", True), ("original@onnxruntime", False),
    ]  # fmt: skip
    assert (found.version, found.target) == (1, "cpu, 1 thread, batch 1")


def points(plot: dict[str, Any] | None) -> list[tuple[int, str, float]]:
    assert plot is not None
    return [(point["x"], point["series"], round(point["y"], 6)) for point in plot["points"]]


def test_speed_and_quality_are_told_of_the_original_and_of_what_was_handed_back(place: Place) -> None:
    found = result_of(*run(place))
    assert found is not None
    results = [found]
    assert points(speed_plot(results, 1)) == [(1, "original", 0.002), (1, "handed back", 0.0005)]
    assert points(quality_plot(results, None)) == [(1, "original", 0.96), (1, "handed back", 0.957)]


def test_the_newest_result_of_a_version_counts(place: Place) -> None:
    job, every = run(place)
    newer = result_of(job, every)
    assert newer is not None
    assert len(points(speed_plot([newer, newer], None))) == 2


def test_a_verdict_of_another_version_is_read_as_far_as_it_goes(place: Place) -> None:
    job, every = run(place)
    assert job.verdict is not None
    whole, odd = (result_of(replace(job, verdict={**job.verdict, **more}), every) for more in ({}, {"aura": 3}))
    assert whole is not None
    assert odd is not None
    assert odd.verdict == whole.verdict
    assert result_of(replace(job, verdict={"outcome": "enlightened"}), every) is None


def test_without_results_there_is_nothing_to_draw() -> None:
    assert speed_plot([], None) is None
    assert quality_plot([], 3) is None
