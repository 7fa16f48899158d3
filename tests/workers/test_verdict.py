"""The rules of the verdict, one test each."""

from typing import Any

import pytest

from burnish.recipe import JobSpec
from burnish.results import Artifact, Candidate, Environment, Estimate, Latency, Quality, Verdict
from workers.verdict import decide

MB = 1_000_000
ENVIRONMENT = Environment(cpu="cpu", isa=(), threads=1, batch=1, load=0.0, versions={})


def around(value: float, half: float = 0.01) -> Estimate:
    return Estimate(value=value, low=value * (1 - half), high=value * (1 + half))


def latency(seconds: float) -> Latency:
    return Latency(median=around(seconds), p95=1.2 * seconds, rounds=20, calls=200)


def candidate(
    name: str = "quantize@onnxruntime",
    *,
    eager: float = 4.0,
    compiled: float | None = 2.0,
    drop: float = 0.001,
    size: int = MB,
    half: float = 0.01,
    **changes: Any,
) -> Candidate:
    """One that is `eager` times faster than eager, which takes 10 ms."""
    variant, _, backend = name.partition("@")
    return Candidate(
        **{
            "name": name,
            "variant": variant,
            "backend": backend,
            "latency": latency(0.010 / eager),
            "speedup_over_eager": around(eager, half),
            "speedup_over_compiled": None if compiled is None else around(compiled, half),
            "quality": Quality(
                metric="top1",
                original=0.9,
                value=0.9 - drop,
                drop=Estimate(value=drop, low=drop - 0.01, high=drop + 0.01),
                samples=500,
                sqnr_db=30.0,
            ),
            "artifact": Artifact(name="model.onnx", digest="0" * 64, size=size, backend=backend, usage=""),
            **changes,
        }
    )


EAGER = Candidate(name="eager", variant="original", backend="eager", latency=latency(0.010), parameters=1_250_000)
COMPILED = Candidate(
    name="compiled",
    variant="original",
    backend="compiled",
    latency=latency(0.005),
    speedup_over_eager=around(2.0),
)


def verdict(*candidates: Candidate, size: int | None = 5 * MB, **goal: Any) -> Verdict:
    spec = JobSpec.model_validate({"model": "m", "dataset": "d", "recipe": {"goal": goal}})
    return decide(spec, [EAGER, COMPILED, *candidates], ENVIRONMENT, size)


def test_one_that_is_faster_within_the_limits_is_an_improvement() -> None:
    found = verdict(candidate(drop=0.0025, eager=4.6, compiled=2.3, size=980_000))
    assert (found.outcome, found.chosen) == ("improved", "quantize@onnxruntime")
    assert found.sentence == (
        "quantize on onnxruntime: 4.6× faster than eager (95 % interval 4.55 to 4.65), 2.3× than compiled, "
        "0.25 points less accurate, 5.1× smaller."
    )


def test_all_candidates_and_the_environment_stand_in_the_verdict() -> None:
    found = verdict(candidate())
    assert [each.name for each in found.candidates] == ["eager", "compiled", "quantize@onnxruntime"]
    assert found.environment == ENVIRONMENT


def test_an_interval_that_reaches_down_to_1_is_no_gain() -> None:
    assert verdict(candidate(eager=1.05, compiled=1.05, half=0.06)).outcome == "no_gain"


def test_a_gain_within_what_two_processes_of_one_program_differ_by_is_no_gain() -> None:
    assert verdict(candidate(eager=1.025, compiled=1.025, half=0.01)).outcome == "no_gain"
    assert verdict(candidate(eager=1.035, compiled=1.035, half=0.01)).outcome == "improved"


def test_one_that_is_slower_than_eager_is_no_gain() -> None:
    found = verdict(candidate(eager=0.8, compiled=0.4))
    assert (found.outcome, found.chosen) == ("no_gain", None)
    assert "ran at 0.40× the speed of compiled" in found.sentence


def test_one_that_is_faster_than_eager_and_not_than_compiled_is_no_gain() -> None:
    found = verdict(candidate(eager=1.9, compiled=0.95))
    assert found.outcome == "no_gain"
    assert "Compiled by `torch.compile`, the original is 2.0× faster than eager." in found.sentence


def test_an_original_that_does_not_compile_leaves_eager_alone_to_beat() -> None:
    assert verdict(candidate(eager=1.5, compiled=None)).outcome == "improved"


@pytest.mark.parametrize(
    "gap",
    [{"refused": "repeat: …"}, {"latency": None}, {"quality": None}, {"artifact": None}, {"speedup_over_eager": None}],
)
def test_one_that_was_refused_or_lacks_a_figure_does_not_count(gap: dict[str, Any]) -> None:
    assert verdict(candidate(**gap)).outcome == "no_gain"


def test_if_all_were_refused_the_sentence_says_why() -> None:
    found = verdict(candidate(refused="repeat: at batch 7, call 2 gave other outputs."))
    assert found.outcome == "no_gain"
    assert found.limits == ()
    assert "the only candidate had to be refused (quantize on onnxruntime: repeat: at batch 7" in found.sentence


def test_without_any_candidate_the_original_is_handed_back() -> None:
    found = verdict()
    assert found.outcome == "no_gain"
    assert "there was no other candidate to measure" in found.sentence


def test_a_drop_over_the_limit_misses_the_target_and_says_what_to_relax() -> None:
    found = verdict(candidate(drop=0.0135), max_drop=0.005)
    assert (found.outcome, found.chosen) == ("target_missed", None)
    limit = next(each for each in found.limits if each.name == "max_drop")
    assert (limit.met, limit.limit, limit.value, limit.advice) == (False, 0.005, 0.0135, "Raise `max_drop` to 1.35%.")
    assert "misses `max_drop` (1.35 % where 0.50 % is allowed). Raise `max_drop` to 1.35%." in found.sentence


def test_half_a_point_is_the_limit_where_none_is_given() -> None:
    assert verdict(candidate(drop=0.006)).outcome == "target_missed"
    assert verdict(candidate(drop=0.005)).outcome == "improved"


def test_a_drop_right_at_the_limit_is_within_it() -> None:
    assert verdict(candidate(drop=0.02), max_drop="2%").outcome == "improved"


def test_a_gain_in_quality_is_within_a_limit_of_zero() -> None:
    found = verdict(candidate(drop=-0.001), max_drop=0)
    assert found.outcome == "improved"
    assert "0.10 points more accurate" in found.sentence


def test_a_file_over_the_limit_misses_the_target() -> None:
    found = verdict(candidate(size=2_345_678), max_size="2MB")
    assert found.outcome == "target_missed"
    assert found.limits[-1].advice == "Raise `max_size` to 2.346MB."


def test_a_median_over_the_limit_misses_the_target() -> None:
    found = verdict(candidate(eager=4.0), max_latency="1ms")
    assert found.outcome == "target_missed"
    assert found.limits[-1].advice == "Raise `max_latency` to 2.500ms."


@pytest.mark.parametrize(
    ("one", "goal"),
    [
        (candidate(drop=0.01351), {"max_drop": "1%"}),
        (candidate(size=2_345_678), {"max_size": "2MB"}),
        (candidate(eager=3.0), {"max_latency": "1ms"}),
    ],
)
def test_following_the_advice_is_enough(one: Candidate, goal: dict[str, Any]) -> None:
    missed = verdict(one, **goal)
    advice = [limit.advice for limit in missed.limits if limit.advice]
    relaxed = {words.split("`")[1]: words.split()[-1].rstrip(".") for words in advice}
    assert verdict(one, **{**goal, **relaxed}).outcome == "improved"


def test_the_nearest_candidate_misses_the_fewest_limits() -> None:
    far = candidate("a@inductor", drop=0.006, size=3 * MB)
    near = candidate("b@inductor", drop=0.02, size=MB)
    found = verdict(far, near, max_drop="0.5%", max_size="2MB")
    assert "The nearest, b on inductor" in found.sentence


def test_of_those_that_miss_the_same_limits_the_nearest_misses_by_the_least() -> None:
    found = verdict(candidate("a@inductor", eager=8.0, drop=0.03), candidate("b@inductor", drop=0.006))
    assert "The nearest, b on inductor" in found.sentence


def test_one_within_the_limits_is_chosen_before_a_faster_one_beyond_them() -> None:
    assert verdict(candidate("fast@x", eager=9.0, drop=0.05), candidate("good@x")).chosen == "good@x"


def test_the_fastest_is_chosen() -> None:
    assert verdict(candidate("a@x", eager=3.0), candidate("b@x", eager=4.0, size=2 * MB)).chosen == "b@x"


def test_of_two_that_can_not_be_told_apart_the_smaller_is_chosen() -> None:
    assert verdict(candidate("a@x", eager=3.98), candidate("b@x", eager=4.0, size=2 * MB)).chosen == "a@x"


def test_of_two_alike_in_speed_and_size_the_better_is_chosen() -> None:
    assert verdict(candidate("a@x", drop=0.002), candidate("b@x", drop=0.001)).chosen == "b@x"


def test_the_smallest_is_chosen_when_size_is_minimized() -> None:
    found = verdict(candidate("a@x", eager=8.0), candidate("b@x", eager=2.0, size=MB // 2), minimize="size")
    assert found.chosen == "b@x"


def test_a_small_file_need_not_be_faster_than_compiled() -> None:
    assert verdict(candidate(eager=1.5, compiled=0.8), minimize="size").outcome == "improved"


def test_a_small_file_that_is_slower_than_eager_is_no_gain() -> None:
    assert verdict(candidate(eager=0.9), minimize="size").outcome == "no_gain"


def test_a_file_as_large_as_the_original_is_no_gain_when_size_is_minimized() -> None:
    found = verdict(candidate(size=5 * MB), minimize="size")
    assert found.outcome == "no_gain"
    assert "no candidate that is faster has a smaller file" in found.sentence


def test_the_weights_stand_for_the_size_of_an_original_whose_file_is_not_known() -> None:
    assert verdict(candidate(size=5 * MB - 1), size=None, minimize="size").outcome == "improved"
    assert verdict(candidate(size=5 * MB), size=None, minimize="size").outcome == "no_gain"


def test_the_limits_of_the_chosen_one_are_all_met_and_named() -> None:
    found = verdict(candidate(), max_size="2MB", max_latency="5ms")
    assert [limit.name for limit in found.limits] == ["faster", "max_drop", "max_size", "max_latency"]
    assert all(limit.met and limit.advice is None for limit in found.limits)
    assert found.limits[0].value == pytest.approx(1.98), "the lower end over the better of eager and compiled"


def test_a_slower_one_misses_the_limit_of_being_faster() -> None:
    found = verdict(candidate(eager=0.8, compiled=0.4))
    assert found.limits[0].name == "faster"
    assert not found.limits[0].met
    assert found.limits[0].advice is not None


@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [
        ("agreement", 0.997, "the original's class on 99.70 % of the held-out samples"),
        ("cosine", 0.9991, "outputs with a cosine of 0.9991 to the original's"),
        ("top1", 0.9, "as accurate"),
    ],
)
def test_the_sentence_speaks_of_quality_as_it_was_measured(metric: Any, value: float, words: str) -> None:
    quality = Quality(metric=metric, original=value, value=value, drop=around(0.0), samples=500, sqnr_db=30.0)
    assert words in verdict(candidate(quality=quality)).sentence


@pytest.mark.parametrize(
    ("size", "words"), [(5 * MB, "about as large"), (10 * MB, "2.0× larger"), (MB, "5.0× smaller")]
)
def test_the_sentence_speaks_of_the_size(size: int, words: str) -> None:
    assert words in verdict(candidate(size=size)).sentence
