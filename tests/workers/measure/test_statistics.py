import math
from collections.abc import Iterator

import numpy as np
import pytest

from workers.measure.statistics import mcnemar, mean_interval, median_interval, ratio_of_medians


def noise(generator: np.random.Generator, rounds: int, correlation: float) -> np.ndarray:
    """Rounds of a noisy host: mean 1, skewed, each correlated with the one before."""
    steady = np.zeros(rounds + 30)
    for index in range(1, rounds + 30):
        fresh = generator.standard_normal() * math.sqrt(1 - correlation**2)
        steady[index] = correlation * steady[index - 1] + fresh
    return 1 + 0.03 * steady[30:] + 0.02 * generator.exponential(size=rounds)


def runs(rounds: int, correlation: float, truth: float, count: int = 250) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of contenders of which the first takes `truth` times as long, with noise of their own and in common."""
    generator = np.random.default_rng(7)
    for _ in range(count):
        common = noise(generator, rounds, correlation)
        yield (
            truth * common * noise(generator, rounds, correlation),
            common * noise(generator, rounds, correlation),
        )


@pytest.mark.parametrize(("rounds", "correlation"), [(20, 0.0), (20, 0.5), (60, 0.5)])
def test_the_interval_of_a_ratio_holds_the_truth_about_as_often_as_it_says(rounds: int, correlation: float) -> None:
    found = [ratio_of_medians(slow, fast, seed=0) for slow, fast in runs(rounds, correlation, truth=1.5)]
    covered = np.mean([one.low <= 1.5 <= one.high for one in found])
    assert 0.92 <= covered <= 1.0


def test_two_equal_contenders_are_seldom_told_apart() -> None:
    found = [ratio_of_medians(one, other, seed=0) for one, other in runs(20, 0.5, truth=1.0)]
    assert np.mean([one.low > 1 for one in found]) <= 0.05


def test_noise_that_both_contenders_share_does_not_widen_the_interval() -> None:
    generator = np.random.default_rng(3)
    drift = 1 + generator.exponential(size=40)
    one, other = (2 * drift, drift)
    paired = ratio_of_medians(one, other, seed=0)
    unpaired = ratio_of_medians(one, generator.permutation(other), seed=0)
    assert paired.high - paired.low < 1e-9
    assert unpaired.high - unpaired.low > 0.1


def test_more_rounds_give_a_narrower_interval() -> None:
    generator = np.random.default_rng(1)
    few, many = (median_interval(noise(generator, rounds, 0.0), seed=0) for rounds in (20, 400))
    assert many.high - many.low < few.high - few.low


def test_the_same_rounds_and_seed_give_the_same_interval() -> None:
    rounds = noise(np.random.default_rng(2), 30, 0.3)
    assert median_interval(rounds, seed=5) == median_interval(rounds, seed=5)
    assert median_interval(rounds, seed=5) != median_interval(rounds, seed=6)


def test_the_value_is_the_plain_ratio_of_medians() -> None:
    over, under = np.array([4.0, 6.0, 8.0]), np.array([1.0, 2.0, 9.0])
    found = ratio_of_medians(over, under, seed=0)
    assert found.value == 3.0
    assert found.low <= found.value <= found.high


def test_rounds_of_different_number_are_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        ratio_of_medians(np.ones(3), np.ones(4), seed=0)


def test_one_observation_has_an_interval_of_no_width() -> None:
    found = median_interval(np.array([2.0]), seed=0)
    assert (found.low, found.value, found.high) == (2.0, 2.0, 2.0)


def test_the_interval_of_a_mean_agrees_with_the_normal_one_for_many_samples() -> None:
    differences = np.random.default_rng(4).choice([-1.0, 0.0, 1.0], p=[0.02, 0.9, 0.08], size=2000)
    found = mean_interval(differences, seed=0)
    half = 1.96 * differences.std() / math.sqrt(differences.size)
    assert found.value == pytest.approx(differences.mean())
    assert found.low == pytest.approx(found.value - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.15 * half)


def test_the_interval_of_a_mean_fits_into_memory_for_many_samples() -> None:
    found = mean_interval(np.ones(300_000), seed=0)
    assert (found.low, found.value, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("first", "second", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (10, 2, 0.03857421875)])
def test_mcnemar_gives_the_exact_binomial_p_value(first: int, second: int, p: float) -> None:
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == pytest.approx(p)


def test_the_interval_of_the_drop_and_mcnemar_agree_on_what_is_chance() -> None:
    clear = np.array([1.0] * 30 + [-1.0] * 5 + [0.0] * 465)
    chance = np.array([1.0] * 12 + [-1.0] * 10 + [0.0] * 478)
    assert mean_interval(clear, seed=0).low > 0
    assert mcnemar(30, 5) < 0.05
    assert mean_interval(chance, seed=0).low < 0 < mean_interval(chance, seed=0).high
    assert mcnemar(12, 10) > 0.05
