"""The comparison with peers goes on where it stopped, and its verdicts follow their numbered rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.given import Kind, digest
from benchmarks.peers.making import faults
from benchmarks.peers.routes import OURS, PEERS, ROUTES
from benchmarks.peers.table import document, sentence
from benchmarks.peers.verdict import verdict_of


def _interval(value: float, half: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def _route(times: dict[str, float], name: str, drop: float = 0.0, faults: tuple[str, ...] = ()) -> dict[str, Any]:
    """A record: `times` are of every contender, `compiled` among them."""
    over = {other: _interval(time / times[name]) for other, time in times.items() if other != name}
    environment = {"cpu": "a chip", "threads": 1, "load": 0.1}
    return {
        "state": "works",
        "size": 1_000_000,
        "faults": list(faults),
        "quality": {"metric": "top1", "drop": _interval(drop)},
        "speed": {"environment": environment, "latency": {"median": {"value": times[name]}}, "over": over},
    }


TIMES = {"compiled": 10.0, "burnish@onnxruntime": 4.0, "burnish@openvino": 5.0, "onnx-static": 4.1, "nncf": 3.0}


def _records(**changed: Any) -> dict[str, Any]:
    found = {name: _route(TIMES, name) for name in TIMES if name != "compiled"}
    return {**found, **{name.replace("_", "-"): record for name, record in changed.items()}}


def test_every_route_has_a_name_of_its_own_and_ours_are_what_a_search_begins_with() -> None:
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names) == len(PEERS) + len(OURS)
    backends = ["inductor", "onnxruntime", "openvino"]
    assert [route.name for route in OURS] == [
        *(f"burnish@{name}" for name in backends),
        *(f"burnish-dynamic@{name}" for name in backends),
        *(f"burnish-bfloat16@{name}" for name in ("inductor", "openvino")),
        *(f"burnish-int8-bfloat16@{name}" for name in ("inductor", "openvino")),
        *(f"burnish-as-is@{name}" for name in backends),
    ]


@pytest.mark.parametrize(
    ("kind", "roundings"),
    [
        ("convolutional", {"burnish", "burnish-bfloat16", "burnish-int8-bfloat16", "burnish-as-is"}),
        ("recurrent", {"burnish-dynamic", "burnish-bfloat16", "burnish-as-is"}),
        ("attention", {"burnish", "burnish-dynamic", "burnish-bfloat16", "burnish-int8-bfloat16", "burnish-as-is"}),
    ],
)
def test_a_model_is_rounded_in_every_way_that_has_kernels_for_its_kind(kind: Kind, roundings: set[str]) -> None:
    assert {route.name.partition("@")[0] for route in OURS if kind in route.kinds} == roundings


def test_ours_is_the_fastest_of_ours_and_is_held_against_the_fastest_peer() -> None:
    verdict = verdict_of(_records())
    assert verdict is not None
    assert (verdict.ours, verdict.peer, verdict.not_slower) == ("burnish@onnxruntime", "nncf", "no")
    assert verdict.target == "yes"


def test_a_peer_that_loses_more_than_the_limit_and_more_than_ours_sets_no_bar() -> None:
    verdict = verdict_of(_records(nncf=_route(TIMES, "nncf", drop=0.05)))
    assert verdict is not None
    assert (verdict.peer, verdict.not_slower) == ("onnx-static", "yes")


def test_a_peer_that_loses_no_more_than_ours_does_counts() -> None:
    ours = {name: _route(TIMES, name, drop=0.06) for name in TIMES if name.startswith("burnish")}
    verdict = verdict_of({**_records(nncf=_route(TIMES, "nncf", drop=0.05)), **ours})
    assert verdict is not None
    assert (verdict.peer, verdict.drop) == ("nncf", "no")


def test_what_every_job_lowers_as_it_is_counts_as_ours_where_it_is_faster_or_int8_loses_too_much() -> None:
    times = {"compiled": 10.0, "burnish@onnxruntime": 4.0, "burnish-as-is@onnxruntime": 3.0, "onnx": 3.0}
    records = {name: _route(times, name) for name in times if name != "compiled"}
    verdict = verdict_of(records)
    assert verdict is not None
    assert (verdict.ours, verdict.not_slower, verdict.target) == ("burnish-as-is@onnxruntime", "yes", "yes")
    times["burnish-as-is@onnxruntime"] = 5.0
    lossy = {**records, "burnish@onnxruntime": _route(times, "burnish@onnxruntime", drop=0.01)}
    verdict = verdict_of(lossy)
    assert verdict is not None
    assert verdict.ours == "burnish-as-is@onnxruntime"


def test_a_peer_that_overwrites_its_input_sets_no_bar() -> None:
    verdict = verdict_of(_records(nncf=_route(TIMES, "nncf", faults=("overwrites its input",))))
    assert verdict is not None
    assert verdict.peer == "onnx-static"


def test_an_interval_across_the_limit_is_told_as_such() -> None:
    times = {**TIMES, "nncf": 3.8}
    verdict = verdict_of({name: _route(times, name) for name in times if name != "compiled"})
    assert verdict is not None
    assert verdict.not_slower == "not told apart"


def test_a_target_that_no_peer_reaches_is_told_as_such() -> None:
    times = {"compiled": 4.5, "burnish@onnxruntime": 4.0, "onnx-static": 4.1}
    verdict = verdict_of({name: _route(times, name) for name in times if name != "compiled"})
    assert verdict is not None
    assert verdict.target == "best peer does not reach it"


def test_a_target_that_a_peer_reaches_and_ours_does_not_is_missed() -> None:
    times = {"compiled": 4.5, "burnish@onnxruntime": 4.0, "onnx-static": 2.0}
    verdict = verdict_of({name: _route(times, name) for name in times if name != "compiled"})
    assert verdict is not None
    assert verdict.target == "no"


def test_without_a_measurement_there_is_no_verdict() -> None:
    unmeasured = _records()
    for record in unmeasured.values():
        del record["speed"]
    assert verdict_of(unmeasured) is None
    assert sentence("speech-dnn", None) == "speech-dnn: nothing of ours was measured."


def test_the_page_tells_rows_failures_and_the_verdict() -> None:
    records = _records(aoti={"state": "fails", "reason": "RuntimeError: a | b"})
    page = document({"speech-dnn": records})
    assert "| `aoti` | AOTInductor, freezing | fails: RuntimeError: a \\| b | | | | |" in page
    assert "| works | 0.00 (-1.00 to 1.00) | 1.000 | 4000000.0 | 2.50 (2.49 to 2.51) |" in page
    assert (
        "| speech-dnn | burnish@onnxruntime | nncf: 0.75 (0.74 to 0.76) | nncf: 0.75 (0.74 to 0.76) | no | yes | yes |"
        in page
    )


def test_a_float_peer_that_is_the_fastest_is_told_beside_the_best_int8_peer() -> None:
    times = {**TIMES, "openvino": 2.0}
    verdict = verdict_of({name: _route(times, name) for name in times if name != "compiled"})
    assert verdict is not None
    assert (verdict.peer, verdict.int8_peer) == ("openvino", "nncf")


def test_a_busy_host_is_told_on_the_page() -> None:
    busy = _records()
    busy["nncf"]["speed"]["environment"]["load"] = 9.0
    assert "no facts yet" in document({"speech-dnn": busy})
    assert "no facts yet" not in document({"speech-dnn": _records()})


def test_artifacts_of_another_model_or_other_data_are_void(tmp_path: Path) -> None:
    for name in ("program", "calibration", "heldout"):
        (tmp_path / name).write_bytes(b"a")
    before = digest(tmp_path)
    (tmp_path / "heldout").write_bytes(b"b")
    assert digest(tmp_path) != before


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"identical": True, "sqnr_db": None, "inputs_unchanged": True}, []),
        ({"identical": False, "sqnr_db": 120.0, "inputs_unchanged": True}, []),
        ({"identical": True, "sqnr_db": None, "inputs_unchanged": False}, ["overwrites its input"]),
        ({"identical": False, "sqnr_db": 14.0, "inputs_unchanged": True}, ["gives other outputs the second time"]),
    ],
)
def test_what_repeated_calls_show_is_told(call: dict[str, Any], told: list[str]) -> None:
    assert faults([call]) == told
