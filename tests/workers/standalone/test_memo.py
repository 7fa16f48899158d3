"""The memo that is shipped with an artifact: exact, bounded, and safe to call from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from workers.standalone.memo import Memo


class Doubling:
    """A runner that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def prepare(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        return arrays

    def run(self, prepared: list[np.ndarray]) -> list[np.ndarray]:
        self.calls += 1
        return [2 * array for array in prepared]

    def arrays(self, outputs: list[np.ndarray]) -> list[np.ndarray]:
        return outputs


def ones(value: float = 1.0, count: int = 8) -> list[np.ndarray]:
    return [np.full(count, value, np.float32)]


BYTES = 2 * 8 * 4
"""Of one entry: the input and the output."""


@pytest.fixture
def runner() -> Doubling:
    return Doubling()


def test_the_same_input_is_computed_once(runner: Doubling) -> None:
    memo = Memo(runner, 10 * BYTES)
    for _ in range(3):
        np.testing.assert_array_equal(memo(ones())[0], 2 * ones()[0])
    assert (runner.calls, memo.hits, memo.misses, memo.bytes) == (1, 2, 1, BYTES)


@pytest.mark.parametrize(
    "other",
    [
        [np.full(8, np.nextafter(np.float32(1), np.float32(2)), np.float32)],
        [np.ones((2, 4), np.float32)],
        [np.ones(8, np.int32)],
        [np.ones(8, np.float32), np.ones(8, np.float32)],
    ],
    ids=["last bit", "shape", "type", "number of inputs"],
)
def test_what_differs_in_anything_is_another_input(runner: Doubling, other: list[np.ndarray]) -> None:
    memo = Memo(runner, 10 * BYTES)
    memo(ones())
    found = memo(other)
    assert runner.calls == 2
    assert [each.dtype for each in found] == [each.dtype for each in other]


def test_an_input_of_the_same_bytes_and_another_type_is_another_input(runner: Doubling) -> None:
    memo = Memo(runner, 10 * BYTES)
    memo([np.zeros(8, np.float32)])
    assert memo([np.zeros(8, np.int32)])[0].dtype == np.int32


def test_an_input_that_is_no_single_block_of_memory_is_found_again(runner: Doubling) -> None:
    memo = Memo(runner, 10 * BYTES)
    every = np.arange(16, dtype=np.float32)
    memo([every[::2]])
    memo([every[::2].copy()])
    assert runner.calls == 1


def test_what_was_used_least_recently_goes_first(runner: Doubling) -> None:
    memo = Memo(runner, 2 * BYTES)
    memo(ones(1))
    memo(ones(2))
    memo(ones(1))
    memo(ones(3))
    assert memo.bytes == 2 * BYTES
    memo(ones(1))
    assert runner.calls == 3, "still there"
    memo(ones(2))
    assert runner.calls == 4, "gone"


def test_what_is_larger_than_the_memo_is_not_kept(runner: Doubling) -> None:
    memo = Memo(runner, BYTES - 1)
    memo(ones())
    memo(ones())
    assert (runner.calls, memo.bytes) == (2, 0)


def test_a_caller_that_changes_its_output_or_input_changes_no_later_answer(runner: Doubling) -> None:
    memo = Memo(runner, 10 * BYTES)
    given = ones()
    first = memo(given)
    first[0][:] = 0
    given[0][:] = 5
    second = memo(ones())
    second[0][:] = 0
    np.testing.assert_array_equal(memo(ones())[0], 2 * ones()[0])


def test_many_threads_get_right_answers_and_the_bytes_add_up(runner: Doubling) -> None:
    memo = Memo(runner, 5 * BYTES)

    def ask(number: int) -> bool:
        value = float(number % 11)
        return bool((memo(ones(value))[0] == 2 * value).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(2000)))
    assert memo.hits + memo.misses == 2000
    assert memo.bytes == 5 * BYTES


def test_timed_calls_are_never_answered_from_memory(runner: Doubling) -> None:
    memo = Memo(runner, 10 * BYTES)
    for _ in range(3):
        memo.timed(ones())
    assert runner.calls == 3


def test_the_rate_from_which_it_pays_follows_from_what_was_measured(runner: Doubling) -> None:
    figures = Memo(runner, 10 * BYTES).figures(ones())
    assert set(figures) == {"call_seconds", "hit_seconds", "overhead_seconds", "break_even_hit_rate"}
    assert 0 < figures["break_even_hit_rate"] <= 1


def test_a_memo_of_a_model_that_is_faster_than_memory_never_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([1e-6, 2e-6, 3e-6])  # the model alone, what a miss adds, a hit
    monkeypatch.setattr("workers.standalone.memo._seconds", lambda work: next(seconds))
    figures = Memo(Doubling(), 10 * BYTES).figures(ones())
    assert figures["break_even_hit_rate"] == 1


def test_a_memo_of_a_slow_model_pays_from_a_small_rate_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: Any = iter([100e-6, 2e-6, 2e-6])
    monkeypatch.setattr("workers.standalone.memo._seconds", lambda work: next(seconds))
    figures = Memo(Doubling(), 10 * BYTES).figures(ones())
    assert figures["break_even_hit_rate"] == pytest.approx(0.02)
