"""Results side by side: what each hands back, where the recipes differ, and when times are no comparison."""

from __future__ import annotations

from typing import Any

from api.comparison import compare
from burnish.recipe import JobSpec
from burnish.resources import JobResource
from burnish.results import Verdict
from tests.api.place import verdict
from tests.api.test_timeline import job


def asked(recipe: dict[str, Any], result: Verdict | None = None) -> JobResource:
    spec = JobSpec.model_validate({"model": "m", "dataset": "d", "recipe": recipe})
    return job().model_copy(update={"spec": spec, "verdict": result})


def test_settings_that_differ_come_first_and_say_so() -> None:
    lines = compare(
        [
            asked({"passes": [{"prune": {"ratio": 0.5}}], "seed": 1}),
            asked({"passes": [{"prune": {"ratio": 0.25}}], "seed": 1}),
        ]
    ).asked
    differing = {line.path: line.values for line in lines if line.differs}
    assert len(differing) == 1
    assert next(iter(differing)).endswith("ratio")
    assert next(iter(differing.values())) == ("0.5", "0.25")
    assert lines[0].differs
    assert not lines[1].differs
    assert ("seed", ("1", "1")) in [(line.path, line.values) for line in lines]


def test_a_setting_that_one_does_not_have_is_a_dash() -> None:
    lines = compare([asked({"passes": [{"prune": {}}]}), asked({})]).asked
    assert any(line.differs and line.values[1] == "–" for line in lines)


def test_each_side_shows_what_it_hands_back() -> None:
    chosen, kept, waiting = compare([asked({}, verdict()), asked({}, verdict(chosen=None)), asked({})]).sides
    assert chosen.result is not None
    assert (chosen.result.name, chosen.file) == ("prune@onnxruntime", 382_000)
    assert kept.result is not None
    assert (kept.result.name, kept.file) == ("eager", None)
    assert (waiting.result, waiting.file) == (None, None)


def test_jobs_of_one_model_are_numbered_and_others_are_not() -> None:
    other = asked({}).model_copy(update={"model": "other:2"})
    assert [side.label for side in compare([asked({}), other, asked({})]).sides] == [
        "net:1 (1)",
        "other:2",
        "net:1 (3)",
    ]


def test_times_under_different_conditions_are_no_comparison() -> None:
    elsewhere = verdict().model_copy(
        update={"environment": verdict().environment.model_copy(update={"threads": 4, "cpu": "another CPU"})}
    )
    assert compare([asked({}, verdict()), asked({}, verdict())]).caution is None
    caution = compare([asked({}, verdict()), asked({}, elsewhere)]).caution
    assert caution is not None
    assert "another CPU, 4 threads, batch 1" in caution
