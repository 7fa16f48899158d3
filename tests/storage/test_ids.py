"""Ids sort by time and never repeat."""

from __future__ import annotations

import time

import pytest

from storage.ids import new_id


def test_an_id_is_a_prefix_and_26_characters() -> None:
    prefix, _, rest = new_id("job").partition("_")
    assert prefix == "job"
    assert len(rest) == 26
    assert set(rest) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_ids_do_not_repeat() -> None:
    assert len({new_id("job") for _ in range(10_000)}) == 10_000


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for microseconds in (1, 2, 1_795_520_307_000_000, 1_795_520_307_000_001, 2**52 - 1):
        monkeypatch.setattr(time, "time_ns", lambda now=microseconds: now * 1000)
        made.append(new_id("mdl"))
    assert made == sorted(made)
