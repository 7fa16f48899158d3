"""From a recipe to steps."""

from __future__ import annotations

import dataclasses
from typing import Any

from burnish.passes import Prune
from burnish.recipe import JobSpec, Target
from storage.records import Job
from storage.steps import PlannedStep
from workers.planner import plan


def _job(recipe: dict[str, Any]) -> Job:
    spec = JobSpec.model_validate({"model": "m", "dataset": "d", "recipe": recipe}).model_dump(mode="json")
    fields = dict.fromkeys(field.name for field in dataclasses.fields(Job))
    known = {"id": "job_1", "state": "queued", "spec": spec, "model_digest": "a" * 64, "dataset_digest": "b" * 64}
    return Job(**{**fields, **known, "priority": 5})  # type: ignore[arg-type]  # the planner reads these alone


def _plan(recipe: dict[str, Any]) -> dict[str, PlannedStep]:
    steps = plan(_job(recipe))
    assert len({step.name for step in steps}) == len(steps)
    return {step.name: step for step in steps}


def _passes(*entries: Any, backend: str = "onnxruntime") -> dict[str, Any]:
    return {"target": {"backend": backend}, "passes": list(entries)}


def test_a_recipe_becomes_a_chain_of_its_passes_beside_the_program_as_it_is() -> None:
    steps = _plan(_passes({"prune": {"ratio": 0.3}}, "distill", "quantize"))
    assert list(steps) == [
        "capture", "split", "profile", "preflight",
        "prune", "distill", "quantize", "lower@onnxruntime", "verify@onnxruntime",
        "as-is/lower@onnxruntime", "as-is/verify@onnxruntime",
        "measure",
    ]  # fmt: skip
    assert steps["prune"].spec["inputs"]["program"] == "capture.program"
    assert steps["distill"].spec["inputs"]["program"] == "prune.program"
    assert steps["quantize"].spec["inputs"]["program"] == "distill.program"
    assert steps["lower@onnxruntime"].spec["inputs"]["program"] == "quantize.program"
    assert steps["quantize"].op == "pass:quantize"


def test_every_step_comes_after_all_it_reads_from() -> None:
    seen: set[str] = set()
    for step in plan(_job(_passes("prune", "quantize", backend="auto"))):
        spec = step.spec
        sources = [each for each in spec["inputs"].values() if not each.startswith("sha256:")]
        assert {each.partition(".")[0] for each in sources} <= seen
        assert set(spec.get("unless", {}).values()) <= seen
        seen.add(step.name)


def test_every_backend_of_auto_is_tried_for_every_variant() -> None:
    steps = _plan(_passes("quantize", backend="auto"))
    lowered = [name for name in steps if "lower@" in name]
    assert lowered == [f"{prefix}lower@{backend}" for prefix in ("", "as-is/") for backend in Target().backends]


def test_a_pass_that_comes_twice_has_a_number() -> None:
    steps = _plan(_passes({"prune": {"ratio": 0.3}}, "distill", {"prune": {"ratio": 0.2}}, "distill"))
    assert [name for name in steps if steps[name].op.startswith("pass:")] == [
        "prune",
        "distill",
        "prune-2",
        "distill-2",
    ]
    assert steps["distill-2"].spec["inputs"]["program"] == "prune-2.program"


def test_settings_are_written_out_with_their_defaults() -> None:
    settings = _plan(_passes("prune"))["prune"].spec["settings"]
    assert settings == Prune().model_dump(mode="json")
    assert settings["ratio"] == 0.5


def test_only_what_depends_on_the_target_names_it() -> None:
    recipe = {**_passes("quantize"), "target": {"threads": 4, "batch": 8, "backend": "onnxruntime"}}
    steps = _plan(recipe)
    named = {name for name, step in steps.items() if step.spec["target"]}
    assert named == {name for name in steps if "@" in name} | {"profile", "preflight", "measure"}
    assert steps["measure"].spec["target"] == {"device": "cpu", "threads": 4, "batch": 8}


def test_the_seed_goes_to_the_passes_and_the_split_alone() -> None:
    steps = _plan({**_passes("quantize"), "seed": 7})
    assert {name for name, step in steps.items() if step.spec["seed"] == 7} == {"split", "preflight", "quantize"}


def test_the_model_and_the_dataset_enter_by_digest() -> None:
    steps = _plan({})
    assert steps["capture"].spec["inputs"] == {"model": "sha256:" + "a" * 64}
    assert steps["split"].spec["inputs"]["dataset"] == "sha256:" + "b" * 64


def test_the_measurement_takes_every_contender_that_did_not_drop_out() -> None:
    measure = _plan(_passes("quantize", backend="auto"))["measure"].spec
    names = [each["name"] for each in measure["settings"]["contenders"]]
    assert names == [f"{variant}@{backend}" for variant in ("quantize", "as-is") for backend in Target().backends]
    assert set(measure["optional"]) == {f"artifact.{name}" for name in names}
    assert measure["unless"]["artifact.quantize@inductor"] == "verify@inductor"
    assert measure["inputs"]["artifact.as-is@inductor"] == "as-is/lower@inductor.artifact"


def test_what_the_user_asked_for_may_not_fail_silently() -> None:
    steps = _plan(_passes("quantize"))
    assert {name for name, step in steps.items() if step.optional} == {
        "profile", "as-is/lower@onnxruntime", "as-is/verify@onnxruntime",
    }  # fmt: skip


def test_of_several_backends_each_may_fail() -> None:
    steps = _plan(_passes("quantize", backend="auto"))
    assert {name for name, step in steps.items() if not step.optional} == {
        "capture",
        "split",
        "preflight",
        "quantize",
        "measure",
    }


def test_a_goal_without_passes_begins_with_what_the_search_needs_to_know() -> None:
    assert list(_plan({})) == ["capture", "split", "profile"]


def test_a_student_is_captured_like_a_model_and_read_by_the_pass_that_names_it() -> None:
    planned = plan(_job(_passes({"distill": {"student": "mdl_small"}}, "quantize")), {"mdl_small": "c" * 64})
    steps = {step.name: step for step in planned}
    assert steps["capture-mdl_small"].spec["inputs"] == {"model": "sha256:" + "c" * 64}
    assert steps["distill"].spec["inputs"]["student"] == "capture-mdl_small.program"
    assert steps["preflight"].spec["inputs"]["student"] == "capture-mdl_small.program"
    assert "student" not in steps["quantize"].spec["inputs"]
