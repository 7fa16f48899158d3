"""Bodies that many ask for at once are made once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from api.rendered import Rendered


def test_what_many_ask_for_at_once_is_made_once() -> None:
    made: list[int] = []
    together, go_on = Barrier(4), Event()

    def make() -> bytes:
        made.append(1)
        go_on.wait(10)
        return b"body"

    def ask() -> bytes:
        together.wait(10)
        return rendered.get(("key",), make)

    rendered = Rendered(4)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask) for _ in range(4)]
        go_on.set()
        assert {each.result() for each in asked} == {b"body"}
    assert made == [1]


def test_another_key_is_another_body_and_the_oldest_makes_room() -> None:
    rendered = Rendered(2)
    for name in ("a", "b", "c"):
        assert rendered.get((name,), name.encode) == name.encode()
    assert rendered.get(("c",), lambda: b"anew") == b"c"
    assert rendered.get(("a",), lambda: b"anew") == b"anew"


def test_a_failure_is_nobodys_body() -> None:
    rendered = Rendered(2)
    with pytest.raises(ZeroDivisionError):
        rendered.get(("key",), lambda: bytes(1 // 0))
    assert rendered.get(("key",), lambda: b"body") == b"body"
