"""Layers: what the profile knows and what the passes did, joined by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from api.layers import layers_of
from burnish.resources import JobResource
from burnish.results import Verdict
from tests.api.place import candidate, verdict
from tests.api.test_timeline import job, step

PROFILE = {
    "layers": [
        {"name": "conv", "op": "conv2d", "parameters": 10, "flops": 20, "seconds": 2e-5, "errors": {"int8": 40.0}},
        {"name": "head", "op": "linear", "parameters": 30, "flops": 60, "seconds": 1e-5, "errors": {"int8": 20.0}},
    ]
}


def treated(*layers: tuple[str, str]) -> dict[str, Any]:
    return {"layers": [{"layer": name, "treatment": done, "reason": "because"} for name, done in layers]}


def planned(reports: Sequence[tuple[str, str, dict[str, Any]]], result: Verdict | None = None) -> JobResource:
    steps = (step(name).model_copy(update={"op": op, "report": report}) for name, op, report in reports)
    return job(*steps).model_copy(update={"verdict": result})


def test_profile_and_treatments_meet_in_one_row_for_each_layer() -> None:
    found = layers_of(
        planned([
            ("profile", "profile", PROFILE),
            ("prune", "pass:prune", treated(("conv", "channels 8 → 4"))),
            ("quantize", "pass:quantize", treated(("conv", "int8"), ("head", "left alone"), ("extra", "int8"))),
        ]),
        None,
    )  # fmt: skip
    assert found is not None
    assert [row.name for row in found.rows] == ["conv", "head", "extra"]
    conv, head, extra = found.rows
    assert [(name, done.treatment) for name, done in conv.treatments] == [
        ("prune", "channels 8 → 4"),
        ("quantize", "int8"),
    ]
    assert (conv.seconds, conv.parameters, conv.op, conv.treated) == (2e-5, 10, "conv2d", True)
    assert not head.treated
    assert (extra.seconds, extra.op, extra.errors) == (None, None, {})
    assert found.precisions == ("int8",)


def test_before_any_layer_is_known_there_is_nothing() -> None:
    assert layers_of(planned([("capture", "capture", {})]), None) is None


def test_the_profile_alone_is_shown_while_the_passes_run() -> None:
    found = layers_of(planned([("profile", "profile", PROFILE)]), None)
    assert found is not None
    assert [row["value"] for row in (found.time_plot or {})["rows"]] == [2e-5, 1e-5]
    assert [row["value"] for row in (found.sensitivity_plot or {})["rows"]] == [40.0, 20.0]


def test_of_a_search_it_is_the_variant_of_the_verdict_unless_another_is_wanted() -> None:
    result = verdict().model_copy(update={"candidates": (candidate("b@onnxruntime", 1.0),), "chosen": "b@onnxruntime"})
    searched = planned(
        [(f"{name}/quantize", "pass:quantize", treated((f"of-{name}", "int8"))) for name in ("a", "b", "c")], result
    )
    found = layers_of(searched, None)
    assert found is not None
    assert (found.variant, found.variants) == ("b", ("a", "b", "c"))
    assert [row.name for row in found.rows] == ["of-b"]
    for wanted, shown in (("c", "c"), ("unheard of", "b")):
        other = layers_of(searched, wanted)
        assert other is not None
        assert other.variant == shown


def test_of_hundreds_of_layers_the_plot_has_the_longest_and_the_table_all() -> None:
    layers = [
        {"name": f"l{n}", "op": "linear", "parameters": 1, "flops": 1, "seconds": n * 1e-6, "errors": {}}
        for n in range(100)
    ]
    found = layers_of(planned([("profile", "profile", {"layers": layers})]), None)
    assert found is not None
    assert found.time_plot is not None
    assert len(found.rows) == 100
    assert [row["name"] for row in found.time_plot["rows"]] == [f"l{n}" for n in range(76, 100)]
    assert found.sensitivity_plot is None


def test_without_a_profile_the_plot_is_of_what_the_treatments_report() -> None:
    layers = [
        {"layer": name, "treatment": "int8", "reason": "", "error_db": error}
        for name, error in (("a", 9.0), ("b", 7.0))
    ]
    found = layers_of(planned([("quantize", "pass:quantize", {"layers": layers})]), None)
    assert found is not None
    assert [row["value"] for row in (found.sensitivity_plot or {})["rows"]] == [9.0, 7.0]
