"""Who may run on a host at once. Each place is taken in a thread, as by the slots of a worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workers.host_lock import HostLock


class Place:
    """One step that asks for a place in a thread of its own, and keeps it until it is let go."""

    def __init__(self, lock: HostLock, alone: bool) -> None:
        self.inside, self.leave, self.stop, self.waits = (threading.Event() for _ in range(4))
        self.answer: bool | None = None
        self._lock, self._alone = lock, alone
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _pause(self, seconds: float) -> bool:
        self.waits.set()
        return self.stop.wait(seconds)

    def _run(self) -> None:
        with self._lock.hold(self._alone, self._pause) as inside:
            self.answer = inside
            self.inside.set()
            if inside:
                self.leave.wait(10)

    def end(self) -> None:
        self.leave.set()
        self.stop.set()
        self.thread.join(10)


@contextmanager
def _places(folder: Path, *kinds: bool) -> Iterator[list[Place]]:
    """One place after the other, each asked for once the one before is in or waits; two locks stand for two workers."""
    locks = [HostLock(folder), HostLock(folder)]
    places: list[Place] = []
    try:
        for number, alone in enumerate(kinds):
            places.append(place := Place(locks[number % 2], alone))
            while not (place.inside.wait(0.01) or place.waits.is_set()):
                continue
        yield places
    finally:
        for place in places:
            place.end()


def test_ordinary_steps_run_side_by_side(tmp_path: Path) -> None:
    with _places(tmp_path, False, False, False) as places:
        assert all(place.inside.is_set() for place in places)


def test_a_step_that_must_be_alone_waits_for_those_that_run(tmp_path: Path) -> None:
    with _places(tmp_path, False, True) as (ordinary, alone):
        assert not alone.inside.is_set()
        ordinary.end()
        assert alone.inside.wait(10)


def test_nothing_new_comes_in_while_one_waits_to_be_alone(tmp_path: Path) -> None:
    with _places(tmp_path, False, True, False) as (first, alone, late):
        assert not late.inside.wait(0.2)
        first.end()
        assert alone.inside.wait(10)
        assert not late.inside.wait(0.2)
        alone.end()
        assert late.inside.wait(10)


def test_two_that_must_be_alone_run_one_after_the_other(tmp_path: Path) -> None:
    with _places(tmp_path, True, True) as (one, two):
        assert one.inside.is_set()
        assert not two.inside.is_set()
        one.end()
        assert two.inside.wait(10)


def test_waiting_can_be_given_up_and_holds_nobody_back(tmp_path: Path) -> None:
    with _places(tmp_path, False, True) as (_, alone):
        alone.stop.set()
        alone.thread.join(10)
        assert alone.answer is False
        with _places(tmp_path, False) as (late,):
            assert late.inside.is_set()


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.host_lock.os.getuid", lambda: 12345)
    with pytest.raises(PermissionError):
        HostLock(tmp_path)
