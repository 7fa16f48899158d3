"""The matrix goes on where it stopped, and its page says what the records say."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.matrix.child import Crashed, in_child
from benchmarks.matrix.findings import findings
from benchmarks.matrix.records import Records
from benchmarks.matrix.run import verdict
from benchmarks.matrix.table import best, document, state


def _quality(drop: float) -> dict[str, Any]:
    interval = {"value": drop, "low": drop - 0.01, "high": drop + 0.01}
    return {"metric": "top1", "original": 0.9, "value": 0.9 - drop, "drop": interval, "samples": 100}


def _record() -> dict[str, Any]:
    return {
        "state": "works",
        "passes": [],
        "backends": {
            "onnxruntime": {"size": 2_000_000, "quality": _quality(0.01)},
            "openvino": {"size": 1_000_000, "quality": _quality(0.02)},
            "inductor": {"refused": "It can't."},
        },
    }


def _speed() -> dict[str, Any]:
    ratio = {"value": 2.0, "low": 1.9, "high": 2.1}
    return {
        "environment": {"cpu": "a chip", "load": 9.0},
        "backends": {
            "onnxruntime": {"latency": {"median": {"value": 1e-4}}, "speedup_over_compiled": ratio},
            "openvino": {"latency": {"median": {"value": 2e-4}}, "speedup_over_compiled": None},
        },
    }


def test_a_cell_that_has_not_run_has_no_record(tmp_path: Path) -> None:
    assert Records(tmp_path).read("speech-dnn", "int4") is None


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    Records(tmp_path).write("speech-dnn", "2:4", _record())
    assert Records(tmp_path).read("speech-dnn", "2:4") == _record()


def test_a_cell_that_runs_anew_loses_the_speeds_of_its_old_artifacts(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write("speech-dnn", "int4", _record())
    records.write_speed("speech-dnn", "int4", _speed())
    assert "speed" in (records.read("speech-dnn", "int4") or {})
    records.write("speech-dnn", "int4", _record())
    assert "speed" not in (records.read("speech-dnn", "int4") or {})


def test_the_backend_shown_is_the_fastest_or_without_speeds_the_smallest() -> None:
    unmeasured = best(_record())
    measured = best({**_record(), "speed": _speed()})
    assert unmeasured is not None
    assert measured is not None
    assert unmeasured[0] == "openvino"
    assert measured[0] == "onnxruntime"


def test_the_page_states_drop_size_backend_ratio_and_the_load(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write("speech-dnn", "int4", _record())
    records.write_speed("speech-dnn", "int4", _speed())
    page = document(records)
    assert (
        "| int4, gptq | works | top1 89.00 | 1.00 (0.00 to 2.00) | 2.000 | onnxruntime |  | 2.00 (1.90 to 2.10) |"
        in page
    )
    assert "Other work shared the machine" in page
    assert "of which 1 work, 0 find nothing to do, 0 are refused with a reason, 0 are rejected by" in page


def test_failures_and_refusals_are_listed_with_their_places_and_reasons() -> None:
    have = {
        ("decoder", "int4"): {"state": "failed", "reason": "It <broke>."},
        ("decoder", "state"): {"state": "refused", "reason": "It has none."},
        ("gru-text", "state"): {"state": "refused", "reason": "It has none."},
        ("speech-dnn", "int4"): _record(),
    }
    page = findings(have)
    assert "- decoder (int4): It &lt;broke>." in page
    assert "- decoder (state); gru-text (state): It has none." in page
    assert "- speech-dnn (int4): inductor: It can't." in page


def test_a_pass_that_found_no_layer_is_no_refusal() -> None:
    assert state({"state": "refused", "reason": "Nothing to do. No layer is large enough."}) == "nothing to do"
    assert state({"state": "refused", "reason": "cache: no."}) == "refused"


@pytest.mark.parametrize(
    ("backends", "state"),
    [
        (({"quality": {}}, {"failed": "It broke."}), "works"),
        (({"rejected": "0.9 dB"}, {"refused": "It can't."}), "rejected"),
        (({"rejected": "0.9 dB"}, {"failed": "It broke."}), "failed"),
        (({"refused": "It can't."}, {"refused": "It can't."}), "refused"),
    ],
)
def test_a_cell_works_if_any_backend_does_and_else_is_what_the_worst_came_to(
    backends: tuple[dict[str, Any], ...], state: str
) -> None:
    assert verdict({f"backend {number}": found for number, found in enumerate(backends)})["state"] == state


def test_a_model_that_could_not_be_had_is_in_the_page_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "lstm-speech").mkdir()
    (tmp_path / "lstm-speech" / "unavailable.json").write_text('"pip: no such package"')
    assert "could not be had: pip: no such package" in document(Records(tmp_path))


def test_a_crash_of_a_cell_is_told_and_ends_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(Crashed, match="SIGKILL"):
        in_child(signal.raise_signal, signal.SIGKILL, limit=30.0, log=tmp_path / "log")
    with pytest.raises(Crashed, match="ZeroDivisionError"):
        in_child(divmod, 1, 0, limit=30.0, log=tmp_path / "log")
