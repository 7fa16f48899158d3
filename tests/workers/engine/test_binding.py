"""What a step works on once its sources have ended."""

from __future__ import annotations

from typing import Any

from storage.records import Step
from workers.binding import Bound, LeftOut, bound, refusal, settled

PROGRAM = "a" * 64


def step(name: str, state: str = "done", **values: Any) -> Step:
    """A step as SQL gives it, with defaults."""
    fields: dict[str, Any] = dict.fromkeys(Step.__dataclass_fields__)
    spec = {"settings": {}, "inputs": {}, "target": {}, "seed": 0, **values.pop("spec", {})}
    base = {"job_id": "job_1", "name": name, "op": name, "queue": "cpu", "optional": False, "position": 0, "hit": False}
    return Step(**{**fields, **base, "spec": spec, "state": state, **values})


def _every(*steps: Step) -> dict[str, Step]:
    return {each.name: each for each in steps}


LOWER = step("lower", outputs={"artifact": PROGRAM}, report={})
REFUSED = step("lower", outputs={}, report={"refused": "It has an LSTM."})
VERIFY = step("verify", "waiting", spec={"inputs": {"artifact": "lower.artifact"}})
MEASURE = step(
    "measure",
    "waiting",
    spec={
        "settings": {"contenders": [{"name": "x@b", "backend": "b"}]},
        "inputs": {"original": f"sha256:{PROGRAM}", "artifact.x@b": "lower.artifact"},
        "optional": ["artifact.x@b"],
        "unless": {"artifact.x@b": "verify"},
    },
)


def test_inputs_are_the_digests_that_their_producers_made() -> None:
    assert bound(VERIFY, _every(LOWER)) == Bound(dict(VERIFY.spec), {"artifact": PROGRAM})


def test_a_step_is_settled_when_all_it_reads_from_has_ended_well_or_not() -> None:
    for state in ("done", "failed", "canceled"):
        assert settled(VERIFY, _every(step("lower", state)))
    for state in ("waiting", "ready", "leased"):
        assert not settled(VERIFY, _every(step("lower", state)))


def test_a_measurement_waits_for_the_verification_of_its_contenders() -> None:
    assert not settled(MEASURE, _every(LOWER, step("verify", "leased")))
    assert settled(MEASURE, _every(LOWER, step("verify", report={})))


def test_a_step_without_a_needed_input_is_left_out_with_the_reason_of_its_producer() -> None:
    assert bound(VERIFY, _every(REFUSED)) == LeftOut("It has an LSTM.")


def test_an_output_that_was_not_made_is_named() -> None:
    assert bound(VERIFY, _every(step("lower", outputs={}))) == LeftOut("`lower` gave no artifact.")


def test_a_verified_contender_is_measured() -> None:
    found = bound(MEASURE, _every(LOWER, step("verify", report={})))
    assert isinstance(found, Bound)
    assert found.spec["settings"]["contenders"] == [{"name": "x@b", "backend": "b"}]
    assert found.inputs == {"original": PROGRAM, "artifact.x@b": PROGRAM}


def test_a_contender_whose_verification_refused_is_not_measured() -> None:
    found = bound(MEASURE, _every(LOWER, step("verify", report={"refused": "Its outputs are wrong."})))
    assert isinstance(found, Bound)
    assert found.spec["settings"]["contenders"] == []
    assert found.inputs == {"original": PROGRAM}


def test_a_contender_that_was_not_lowered_is_not_measured() -> None:
    verify = step("verify", "canceled", why={"skipped": "It has an LSTM."})
    found = bound(MEASURE, _every(REFUSED, verify))
    assert isinstance(found, Bound)
    assert found.spec["settings"]["contenders"] == []


def test_a_failed_optional_step_refuses_with_its_error() -> None:
    assert refusal(step("prune", "failed", error={"message": "No layer fits."})) == "`prune` failed: No layer fits."


def test_a_step_that_did_its_work_refuses_nothing() -> None:
    assert refusal(LOWER) is None
