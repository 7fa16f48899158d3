from collections.abc import Callable

import numpy as np
import pytest

from workers.measure.contender import ContenderFailed
from workers.measure.protocol import FEWEST_ROUNDS, MOST_CALLS, Plan, measure


class Clock:
    """Time that only the fakes let pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake:
    """A contender whose calls take what `seconds` says for the round, on the clock given."""

    def __init__(self, name: str, clock: Clock, turns: list[str], seconds: Callable[[int], float], dies_at: int = -1):
        self.name, self.clock, self.turns, self.seconds, self.dies_at = name, clock, turns, seconds, dies_at
        self.made: list[int] = []

    def round(self, calls: int, untimed: int, limit: float) -> list[float]:
        if len(self.made) == self.dies_at:
            raise ContenderFailed("its process was ended by SIGSEGV at round")
        took = self.seconds(len(self.made))
        self.turns.append(self.name)
        self.made.append(calls)
        self.clock.now += (calls + untimed) * took
        return [took] * calls


def noisy(base: float, spread: float, seed: int = 0) -> Callable[[int], float]:
    values = base * (1 + spread * np.random.default_rng(seed).standard_normal(100_000))
    return lambda turn: float(values[turn])


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_contenders_take_turns_in_order(clock: Clock) -> None:
    turns: list[str] = []
    fakes = {name: Fake(name, clock, turns, noisy(1e-3, 0.0)) for name in ("eager", "compiled", "a")}
    measure(fakes, ["eager", "compiled"], Plan(), clock=clock)
    assert turns == ["eager", "compiled", "a"] * (len(turns) // 3)


def test_steady_and_precise_contenders_get_the_fewest_rounds_that_are_allowed(clock: Clock) -> None:
    fakes = {name: Fake(name, clock, [], noisy(1e-3, 0.001)) for name in ("eager", "a")}
    rounds = measure(fakes, ["eager"], Plan(), clock=clock)
    assert rounds.latency("a").rounds == 20
    assert len(fakes["a"].made) == 23, "three rounds of warm-up are not counted"


def test_warm_up_goes_on_while_a_contender_still_gets_faster(clock: Clock) -> None:
    fakes = {
        "eager": Fake("eager", clock, [], lambda turn: 1e-3),
        "a": Fake("a", clock, [], lambda turn: 1e-3 * (2.0 if turn < 10 and turn % 2 else 1.0)),
    }
    rounds = measure(fakes, ["eager"], Plan(), clock=clock)
    assert len(fakes["a"].made) - rounds.latency("a").rounds == 13, "three rounds after the last slow one, the tenth"
    assert rounds.latency("a").median.value == 1e-3


def test_warm_up_ends_in_time_even_if_nothing_gets_steady(clock: Clock) -> None:
    fakes = {name: Fake(name, clock, [], noisy(1e-3, 0.2, seed)) for seed, name in enumerate(("eager", "a"))}
    rounds = measure(fakes, ["eager"], Plan(warm_up_seconds=1.0, seconds=2.0), clock=clock)
    assert rounds.latency("a").rounds >= 20


def test_noise_brings_more_rounds_until_the_ratio_is_known(clock: Clock) -> None:
    fakes = {name: Fake(name, clock, [], noisy(1e-3, 0.04, seed)) for seed, name in enumerate(("eager", "a"))}
    rounds = measure(fakes, ["eager"], Plan(seconds=1e9), clock=clock)
    ratio = rounds.speedup("a", "eager")
    assert ratio is not None
    assert rounds.latency("a").rounds > 20
    assert (ratio.high - ratio.low) / 2 <= 0.02 * ratio.value


def test_the_time_limit_ends_it_even_if_the_ratio_is_not_known(clock: Clock) -> None:
    fakes = {name: Fake(name, clock, [], noisy(1e-3, 0.3, seed)) for seed, name in enumerate(("eager", "a"))}
    plan = Plan(seconds=3.0, warm_up_seconds=0.5)
    measure(fakes, ["eager"], plan, clock=clock)
    assert clock.now < 0.5 + 3.0 + 0.5


def test_slow_models_still_get_the_least_number_of_rounds(clock: Clock) -> None:
    fakes = {name: Fake(name, clock, [], noisy(0.5, 0.3, seed)) for seed, name in enumerate(("eager", "a"))}
    rounds = measure(fakes, ["eager"], Plan(seconds=1.0), clock=clock)
    assert rounds.latency("a").rounds == 20


def test_very_slow_models_are_cut_off_by_the_hard_limit(clock: Clock) -> None:
    fakes = {name: Fake(name, clock, [], noisy(30.0, 0.0)) for name in ("eager", "a")}
    rounds = measure(fakes, ["eager"], Plan(hard_seconds=100.0), clock=clock)
    assert rounds.latency("a").rounds == FEWEST_ROUNDS


def test_a_round_holds_as_many_calls_as_fill_it(clock: Clock) -> None:
    fakes = {
        name: Fake(name, clock, [], noisy(base, 0.0))
        for name, base in (("eager", 0.1), ("a", 0.004), ("instant", 1e-7))
    }
    measure(fakes, ["eager"], Plan(), clock=clock)
    assert fakes["eager"].made[-1] == 1
    assert fakes["a"].made[-1] == 4
    assert fakes["instant"].made[-1] == MOST_CALLS


def test_a_contender_that_crashes_is_out_and_the_others_go_on(clock: Clock) -> None:
    fakes = {
        "eager": Fake("eager", clock, [], noisy(1e-3, 0.0)),
        "bad": Fake("bad", clock, [], noisy(1e-3, 0.0), dies_at=8),
        "good": Fake("good", clock, [], noisy(5e-4, 0.0)),
    }
    rounds = measure(fakes, ["eager"], Plan(), clock=clock)
    assert rounds.failed == {"bad": "its process was ended by SIGSEGV at round"}
    assert rounds.latency("good").rounds == 20
    ratio = rounds.speedup("good", "eager")
    assert ratio is not None
    assert ratio.value == pytest.approx(2.0)


def test_a_baseline_that_crashes_leaves_no_ratio(clock: Clock) -> None:
    fakes = {
        "eager": Fake("eager", clock, [], noisy(1e-3, 0.0)),
        "compiled": Fake("compiled", clock, [], noisy(1e-3, 0.0), dies_at=0),
    }
    rounds = measure(fakes, ["eager", "compiled"], Plan(), clock=clock)
    assert rounds.speedup("eager", "compiled") is None


def test_all_contenders_crashing_ends_the_measurement(clock: Clock) -> None:
    fakes = {"eager": Fake("eager", clock, [], noisy(1e-3, 0.0), dies_at=2)}
    assert set(measure(fakes, ["eager"], Plan(), clock=clock).failed) == {"eager"}


def test_the_95th_percentile_is_over_calls(clock: Clock) -> None:
    fakes = {"eager": Fake("eager", clock, [], lambda turn: 1e-3 if turn % 10 else 2e-3)}
    found = measure(fakes, ["eager"], Plan(), clock=clock).latency("eager")
    assert found.median.value == 1e-3
    assert found.p95 == 2e-3
    assert found.calls == sum(fakes["eager"].made[-found.rounds :])


def test_the_quantiles_of_calls_are_told_by_their_share(clock: Clock) -> None:
    fakes = {"eager": Fake("eager", clock, [], lambda turn: 1e-3 if turn % 10 else 2e-3)}
    found = measure(fakes, ["eager"], Plan(), clock=clock).latency("eager")
    assert list(found.quantiles) == ["0.05", "0.25", "0.5", "0.75", "0.95", "0.99"]
    assert (found.quantiles["0.25"], found.quantiles["0.95"]) == (1e-3, found.p95)
