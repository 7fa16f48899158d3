"""The search of a goal without passes, played against made-up worlds in which every speed and every drop is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from burnish.recipe import JobSpec
from storage.records import Job, Step
from storage.steps import PlannedStep
from workers.outcome import verdict_of
from workers.planner import more_steps, plan

CONV, LINEAR = {"conv2d": 3}, {"linear": 3}
"""Layers by kind, which take a millisecond each."""
World = Callable[[str, str], tuple[float, float]]
"""Variant and backend → speed-up over eager, and drop."""
ENVIRONMENT = {"cpu": "made up", "isa": [], "threads": 1, "batch": 1, "load": 0.0, "versions": {}}


def play(
    world: World,
    layers: dict[str, int],
    parameters: int = 200_000,
    seconds: float = 1.0,
    bfloat16: bool = False,
    **recipe: Any,
) -> dict[str, Step]:
    """All steps of a search, each ended as the world says."""
    job = _job(recipe)
    every: dict[str, Step] = {}
    planned = plan(job)
    while planned:
        for step in planned:
            assert step.name not in every
            every[step.name] = _ended(step, every, world, layers, parameters, seconds, bfloat16)
        planned = more_steps(job, every, samples=1000)
    return every


def chosen(every: dict[str, Step], **recipe: Any) -> str | None:
    """The candidate handed back."""
    return verdict_of(JobSpec.model_validate(_job(recipe).spec), every, 1000).chosen


def pruned(every: dict[str, Step]) -> list[float]:
    """The shares tried, in order."""
    return [step.spec["settings"]["ratio"] for step in every.values() if step.op == "pass:prune"]


def test_round_one_tries_every_rounding_that_suits_on_every_backend() -> None:
    every = play(lambda variant, backend: (1.0, 0.0), CONV | LINEAR)
    first = [each["name"] for each in every["measure"].spec["settings"]["contenders"]]
    variants = {name.partition("@")[0] for name in first}
    assert variants == {"as-is", "int8-dynamic", "int8", "int4"}
    assert len(first) == len(variants) * len(JobSpec.model_validate(_job({}).spec).recipe.target.backends)


@pytest.mark.parametrize(
    ("layers", "parameters", "variants"),
    [
        (CONV, 200_000, {"as-is", "int8"}),
        (LINEAR, 200_000, {"as-is", "int8-dynamic", "int8", "int4"}),
        (LINEAR, 1_000, {"as-is", "int8-dynamic", "int8"}),
        ({"conv2d": 9, "linear": 1}, 200_000, {"as-is", "int8"}),
        ({"embedding": 1}, 200_000, {"as-is"}),
        ({}, 200_000, {"as-is"}),
    ],
)
def test_what_suits_depends_on_the_layers_that_take_the_time(
    layers: dict[str, int], parameters: int, variants: set[str]
) -> None:
    every = play(lambda variant, backend: (1.0, 0.0), layers, parameters)
    assert {each["name"].partition("@")[0] for each in every["measure"].spec["settings"]["contenders"]} == variants


def contenders(every: dict[str, Step], measure: str = "measure") -> set[str]:
    return {each["name"] for each in every[measure].spec["settings"]["contenders"]}


def test_bfloat16_is_tried_where_the_machine_multiplies_it_on_backends_that_compute_in_it() -> None:
    world: World = lambda variant, backend: (1.0, 0.0)  # noqa: E731
    found = {name for name in contenders(play(world, CONV, bfloat16=True)) if "bfloat16" in name}
    assert found == {
        f"{variant}@{backend}" for variant in ("bfloat16", "int8-bfloat16") for backend in ("inductor", "openvino")
    }
    assert not [name for name in contenders(play(world, CONV)) if "bfloat16" in name]
    assert not [name for name in contenders(play(world, {"embedding": 1}, bfloat16=True)) if "bfloat16" in name]
    only = play(world, CONV, bfloat16=True, target={"backend": "onnxruntime"})
    assert contenders(only) == {"as-is@onnxruntime", "int8@onnxruntime"}
    assert not [name for name in only if "bfloat16" in name]


@pytest.mark.parametrize("kind", ["bfloat16", "int8-bfloat16"])
def test_where_bfloat16_is_the_fastest_pruning_goes_on_with_it_on_backends_that_compute_in_it(kind: str) -> None:
    def world(variant: str, backend: str) -> tuple[float, float]:
        return (2.1 if variant.rpartition("+")[2] == kind else 1.9) / (1.0 - _ratio(variant)), 0.0

    every = play(world, CONV, bfloat16=True)
    assert contenders(every, "measure-2") == {
        f"prune50+distill+{kind}@inductor", f"prune50+distill+{kind}@openvino", f"{kind}@openvino",
    }  # fmt: skip


def test_bfloat16_that_loses_too_much_is_not_distilled() -> None:
    speeds = {"bfloat16": (4.0, 0.2), "int8-bfloat16": (5.0, 0.2), "int8": (3.0, 0.2)}
    every = play(lambda variant, backend: speeds.get(variant, (1.0, 0.0)), CONV, bfloat16=True)
    assert "int8+distill/distill" in every
    assert not [name for name in every if "bfloat16+distill" in name]


def test_pruning_grows_while_it_is_faster_and_good_enough() -> None:
    def world(variant: str, backend: str) -> tuple[float, float]:
        ratio = _ratio(variant)
        return 2.0 / (1.0 - ratio), 0.0 if ratio <= 0.8 else 0.3

    every = play(world, CONV)
    assert pruned(every) == [0.5, 0.75, 0.88]
    assert "prune75+distill+" in str(chosen(every))


def test_pruning_shrinks_while_it_costs_too_much() -> None:
    def world(variant: str, backend: str) -> tuple[float, float]:
        ratio = _ratio(variant)
        return 2.0 / (1.0 - ratio), 0.3 * ratio

    every = play(world, CONV, goal={"max_drop": 0.04})
    assert pruned(every) == [0.5, 0.25, 0.12]
    assert "prune12+" in str(chosen(every, goal={"max_drop": 0.04}))


def test_it_rounds_as_the_fastest_that_keeps_the_quality_did() -> None:
    speeds = {"as-is": (1.5, 0.0), "int8": (4.0, 0.2), "int8-dynamic": (3.0, 0.001), "int4": (2.0, 0.0)}
    every = play(lambda variant, backend: speeds.get(variant, (1.0, 0.0)), LINEAR)
    assert "prune50+distill+int8-dynamic/quantize" in every


def test_without_a_rounding_that_keeps_the_quality_it_prunes_alone() -> None:
    every = play(lambda variant, backend: (2.0, 0.0) if variant == "as-is" else (3.0, 0.9), CONV)
    assert "prune50+distill/distill" in every
    assert chosen(every) is not None
    assert str(chosen(every)).startswith("as-is@")


def test_the_fastest_rounding_that_loses_too_much_is_distilled() -> None:
    speeds = {"int8": (4.0, 0.2), "int4": (3.0, 0.2), "int8-dynamic": (2.0, 0.0), "int8+distill": (4.0, 0.001)}
    every = play(lambda variant, backend: speeds.get(variant, (1.0, 0.0)), LINEAR)
    assert [step.op for name, step in every.items() if name.startswith("int8+distill/")][:2] == [
        "pass:quantize", "pass:distill",
    ]  # fmt: skip
    assert "int4+distill/distill" not in every
    assert str(chosen(every)).startswith("int8+distill@")


def test_where_distilling_a_rounding_keeps_the_quality_pruning_goes_on_with_both() -> None:
    speeds = {"int8": (4.0, 0.2), "int8+distill": (4.0, 0.001)}

    def world(variant: str, backend: str) -> tuple[float, float]:
        return (6.0, 0.0) if variant == "prune50+distill+int8+distill" else speeds.get(variant, (1.0, 0.0))

    every = play(world, CONV)
    assert pruned(every)[:2] == [0.5, 0.5]
    assert str(chosen(every)).startswith("prune50+distill+int8+distill@")


def test_a_rounding_that_loses_too_much_is_not_distilled_where_another_is_as_fast() -> None:
    speeds = {"int8": (4.0, 0.0), "int4": (3.0, 0.2)}
    every = play(lambda variant, backend: speeds.get(variant, (1.0, 0.0)), LINEAR)
    assert not [name for name in every if name.startswith("int4+distill/")]


def test_backends_far_behind_are_not_tried_again() -> None:
    every = play(lambda variant, backend: (4.0 if backend == "onnxruntime" else 1.1, 0.0), CONV)
    later = [each["name"] for each in every["measure-2"].spec["settings"]["contenders"]]
    assert all(name.endswith("@onnxruntime") for name in later)


def test_later_rounds_measure_the_best_so_far_beside_the_new() -> None:
    every = play(lambda variant, backend: (2.0 / (1.0 - _ratio(variant)), 0.0), CONV, target={"backend": "inductor"})
    assert [each["name"] for each in every["measure-2"].spec["settings"]["contenders"]] == [
        "prune50+distill+int8@inductor", "int8@inductor",
    ]  # fmt: skip
    assert [each["name"] for each in every["measure-3"].spec["settings"]["contenders"]] == [
        "prune75+distill+int8@inductor", "int8@inductor", "prune50+distill+int8@inductor",
    ]  # fmt: skip


def test_it_ends_when_pruning_gains_nothing() -> None:
    every = play(lambda variant, backend: (3.0, 0.0), CONV)
    assert pruned(every) == [0.5, 0.25, 0.12]


def test_it_ends_when_there_is_nothing_to_prune() -> None:
    def world(variant: str, backend: str) -> tuple[float, float]:
        return 3.0, 0.0

    every = play(world, {"nothing to prune": 1})
    assert pruned(every) == [0.5]


def test_it_ends_when_its_time_is_over() -> None:
    every = play(lambda variant, backend: (2.0, 0.0), CONV, seconds=100.0, goal={"search_time": "1min"})
    assert pruned(every) == []
    assert chosen(every, goal={"search_time": "1min"}) is not None


def test_a_recipe_with_passes_is_no_search() -> None:
    every = play(lambda variant, backend: (2.0, 0.0), CONV, passes=["quantize"])
    assert [name for name in every if name.startswith("measure")] == ["measure"]


def test_where_nothing_can_be_measured_the_search_ends() -> None:
    every = play(lambda variant, backend: (0.0, 0.0), CONV)
    assert pruned(every) == []
    assert chosen(every) is None


def _job(recipe: dict[str, Any]) -> Job:
    spec = JobSpec.model_validate({"model": "m", "dataset": "d", "recipe": recipe}).model_dump(mode="json")
    empty = dict.fromkeys(field.name for field in dataclasses.fields(Job))
    known = {"id": "job_1", "state": "running", "spec": spec, "model_digest": "a" * 64, "dataset_digest": "b" * 64}
    return Job(**{**empty, **known, "priority": 5})  # type: ignore[arg-type]  # the planner reads these alone


def _ratio(variant: str) -> float:
    return float(variant.partition("+")[0].removeprefix("prune")) / 100 if variant.startswith("prune") else 0.0


def _ended(
    step: PlannedStep,
    every: dict[str, Step],
    world: World,
    layers: dict[str, int],
    parameters: int,
    seconds: float,
    bfloat16: bool,
) -> Step:
    report: dict[str, Any] = {}
    if step.op == "capture":
        report = {"parameters": parameters, "flops": 1}
    elif step.op == "profile":
        one = {"seconds": 1e-3, "parameters": parameters}
        report = {"layers": [{"op": op, **one} for op, count in layers.items() for _ in range(count)]}
        report["bfloat16"] = bfloat16
    elif step.op == "pass:prune":
        report = {"changed": "nothing to prune" not in layers}
    elif step.op == "lower":
        report = {"filename": "model", "size": 100, "usage": "run it"}
    elif step.op == "verify":
        variant = step.name.rpartition("/")[0] or "asked"
        report = {"quality": _quality(world(variant, step.spec["settings"]["backend"])[1])}
    elif step.op == "measure":
        names = [each["name"] for each in step.spec["settings"]["contenders"]]
        found = {name: _figures(world(*name.rpartition("@")[::2])[0]) for name in names}
        report = {"environment": ENVIRONMENT, "contenders": {"eager": _figures(1.0), **found}}
    empty = dict.fromkeys(field.name for field in dataclasses.fields(Step))
    outputs = {"artifact": step.name}
    known = {"name": step.name, "op": step.op, "spec": dict(step.spec), "optional": step.optional, "state": "done"}
    return Step(**{**empty, **known, "report": report, "outputs": outputs, "seconds": seconds})  # type: ignore[arg-type]


def _figures(speedup: float) -> dict[str, Any]:
    if speedup == 0.0:
        return {"refused": "it does not run"}
    median = {"value": 1.0 / speedup, "low": 1.0 / speedup, "high": 1.0 / speedup}
    ratio = {"value": speedup, "low": 0.99 * speedup, "high": 1.01 * speedup}
    latency = {"median": median, "p95": 1.0, "rounds": 20, "calls": 20}
    return {"latency": latency, "speedup_over_eager": ratio, "speedup_over_compiled": ratio}


def _quality(drop: float) -> dict[str, Any]:
    interval = {"value": drop, "low": drop, "high": drop}
    return {"metric": "top1", "original": 1.0, "value": 1.0 - drop, "drop": interval, "samples": 10, "sqnr_db": 40.0}
