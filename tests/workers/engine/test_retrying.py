"""Trying again: later and later, for so long and no longer."""

from __future__ import annotations

import pytest

from burnish.errors import BurnishError, DiskFull, Unavailable
from workers.retrying import PATIENCE, backoff, retried


class Away:
    """Work that fails so often, and a pause that notes how long it was asked to be."""

    def __init__(self, failures: int, error: BurnishError | None = None) -> None:
        self.left, self.error = failures, error or Unavailable("Away.", cure="Wait.")
        self.pauses: list[float] = []

    def work(self) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return "made"

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        return False


def test_the_pauses_grow_to_a_bound_and_differ() -> None:
    drawn = {failures: [backoff(failures, 10.0) for _ in range(200)] for failures in (0, 3, 5000)}
    for failures, bound in ((0, 0.5), (3, 4.0), (5000, 10.0)):
        assert 0 <= min(drawn[failures]) < bound / 4
        assert 3 / 4 * bound < max(drawn[failures]) <= bound


def test_what_is_back_is_used_and_the_first_error_was_told() -> None:
    away = Away(3)
    told: list[BurnishError] = []
    assert retried(away.work, away.pause, longest=2.0, waiting=told.append) == "made"
    assert told == [away.error]
    assert len(away.pauses) == 3
    assert max(away.pauses) <= 2.0


def test_it_ends_when_the_pause_says_so() -> None:
    away = Away(1)
    with pytest.raises(Unavailable):
        retried(away.work, lambda _: True)


def test_it_ends_when_the_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 10 * int(PATIENCE), int(PATIENCE / 2)))
    monkeypatch.setattr("workers.retrying.time.monotonic", lambda: float(next(now)))
    away = Away(99)
    with pytest.raises(Unavailable):
        retried(away.work, away.pause)
    assert len(away.pauses) == 2


def test_another_error_is_raised_at_once_unless_it_is_named() -> None:
    full = DiskFull("Full.", cure="Free some.")
    with pytest.raises(DiskFull):
        retried(Away(1, full).work, lambda _: False)
    assert retried(Away(1, full).work, lambda _: False, when=(DiskFull,)) == "made"
