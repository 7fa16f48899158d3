"""Whether a result replaces the champion, rule by rule."""

from __future__ import annotations

from typing import Any

from burnish.recipe import Goal
from burnish.results import Artifact, Candidate, Estimate, Verdict
from tests.workers.test_verdict import COMPILED, EAGER, ENVIRONMENT, MB, candidate
from workers.contest import Champion, Contest
from workers.promotion import Decision, decide, still_holds
from workers.verdict import NOISE


def artifact(digest: str = "c" * 64, size: int = 2 * MB) -> Artifact:
    return Artifact(name="model.onnx", digest=digest, size=size, backend="onnxruntime", usage="")


CONTEST = Contest("net", "production", False, Champion("als_1", artifact(), "prune@onnxruntime"))
FIRST = Contest("net", "production", False, None)


def champion(size: int = 2 * MB, **changes: Any) -> Candidate:
    known = {"artifact": artifact(size=size), "variant": "champion", **changes}
    return candidate("champion@onnxruntime", **known)


def over(low: float, high: float | None = None) -> Estimate:
    high = high or low + 0.1
    return Estimate(value=(low + high) / 2, low=low, high=high)


def verdict(chosen: Candidate | None, other: Candidate | None, outcome: str = "improved") -> Verdict:
    every = [EAGER, COMPILED, *(each for each in (chosen, other) if each)]
    return Verdict.model_validate(
        {
            "outcome": outcome,
            "sentence": "So it was.",
            "chosen": chosen.name if chosen and outcome == "improved" else None,
            "limits": (),
            "candidates": tuple(every),
            "environment": ENVIRONMENT,
        }
    )


def decided(ratio: Estimate | None, other: Candidate | None, goal: Goal | None = None, **changes: Any) -> Decision:
    chosen = candidate(speedup_over_champion=ratio, **changes)
    return decide(goal or Goal(), verdict(chosen, other), CONTEST)


def test_what_is_proven_faster_is_promoted_with_the_figures() -> None:
    found = decided(over(1.05, 1.15), champion())
    assert (found.outcome, found.speedup) == ("promoted", over(1.05, 1.15))
    assert found.reason == "It has 1.10× the champion's speed (1.05 to 1.15), proven above 1.02."


def test_an_interval_that_reaches_into_the_noise_proves_nothing() -> None:
    assert decided(over(1 + NOISE), champion()).outcome == "kept"
    assert decided(over(1 + NOISE + 1e-6), champion()).outcome == "promoted"
    kept = decided(over(0.9, 1.3), champion())
    assert (kept.outcome, "has to lie above 1.02" in kept.reason) == ("kept", True)


def test_only_an_improved_result_is_promoted() -> None:
    for outcome in ("no_gain", "target_missed"):
        found = decide(Goal(), verdict(candidate(), champion(), outcome), CONTEST)
        assert (found.outcome, found.reason) == ("kept", "The job has no result to promote: So it was.")


def test_the_first_is_promoted_if_it_is_improved() -> None:
    assert decide(Goal(), verdict(candidate(), None), FIRST).outcome == "promoted"
    assert decide(Goal(), verdict(candidate(), None, "no_gain"), FIRST).outcome == "kept"


def test_the_same_bytes_are_no_challenger() -> None:
    found = decided(None, None, artifact=artifact())
    assert (found.outcome, found.reason) == ("kept", "The job came to the very artifact that is the champion.")


def test_a_champion_that_breaks_a_limit_today_is_replaced_by_one_that_is_not_faster() -> None:
    found = decided(over(0.5), champion(drop=0.02), Goal(max_drop=0.01))
    assert found.outcome == "promoted"
    assert found.reason == "The champion no longer holds: its drop is 2.00 %, the limit 1.00 %."
    assert decided(over(0.5), champion(drop=0.006)).outcome == "promoted"  # the limit that holds where none is given
    assert decided(over(0.5), champion(), Goal(max_size=MB)).outcome == "promoted"
    assert decided(over(0.5), champion(eager=2.0), Goal(max_latency=0.004)).outcome == "promoted"
    assert decided(over(0.5), champion(drop=0.004)).outcome == "kept"


def test_a_champion_that_does_not_take_todays_data_is_replaced() -> None:
    found = decided(None, champion(refused="load failed.", quality=None, latency=None))
    assert (found.outcome, found.reason) == ("promoted", "The champion no longer holds: it was refused (load failed).")


def test_what_can_not_be_told_keeps_the_champion() -> None:
    assert decided(None, None).outcome == "kept"
    assert decided(None, champion()).outcome == "kept"
    assert decided(over(2.0), champion(latency=None, refused="measuring: it took too long.")).outcome == "kept"


def test_when_size_is_minimized_the_file_must_be_smaller_and_not_slower() -> None:
    goal = Goal(minimize="size")
    assert decided(over(0.99), champion(), goal, size=MB).outcome == "promoted"
    assert decided(over(1.5), champion(), goal, size=2 * MB).outcome == "kept"
    slower = decided(over(0.97), champion(), goal, size=MB)
    assert (slower.outcome, "may be slower" in slower.reason) == ("kept", True)


def test_measured_again_a_champion_holds_while_every_limit_does() -> None:
    assert still_holds(Goal(), verdict(champion(), None)).outcome == "holds"


def test_measured_again_it_has_drifted_if_a_limit_is_broken_and_the_limit_is_named() -> None:
    found = still_holds(Goal(max_drop=0.01), verdict(champion(drop=0.03), None, "target_missed"))
    assert (found.outcome, "its drop is 3.00 %, the limit 1.00 %" in found.reason) == ("drifted", True)


def test_measured_again_it_has_drifted_if_it_does_not_beat_the_original_any_more() -> None:
    found = still_holds(Goal(), verdict(champion(), None, "no_gain"))
    assert (found.outcome, "So it was." in found.reason) == ("drifted", True)


def test_measured_again_it_has_drifted_if_it_does_not_run() -> None:
    refused = champion(refused="load failed", quality=None, latency=None)
    assert still_holds(Goal(), verdict(refused, None, "no_gain")).outcome == "drifted"
    crashed = champion(refused="measuring: it was ended", latency=None)
    assert "it was ended" in still_holds(Goal(), verdict(crashed, None, "no_gain")).reason
    assert still_holds(Goal(), verdict(None, None, "no_gain")).outcome == "drifted"
