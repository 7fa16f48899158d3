"""Probes end in bounded time, whatever they ask."""

from __future__ import annotations

import threading
import time

import pytest

from api.probes import Probes


def test_all_answers_come_in_the_order_of_the_questions() -> None:
    assert list(Probes().ask({"b": lambda: "yes", "a": lambda: "no"}).items()) == [("b", "yes"), ("a", "no")]


def test_who_does_not_answer_is_said_to_be_silent_and_the_others_are_heard() -> None:
    hangs = threading.Event()

    def hang() -> str:
        hangs.wait(60)
        return "at last"

    began = time.monotonic()
    found = Probes(0.1).ask({"slow": hang, "quick": lambda: "ok"})
    hangs.set()
    assert time.monotonic() - began < 5
    assert found["quick"] == "ok"
    assert found["slow"].startswith("No answer for 0.1")


def test_a_question_that_is_open_is_not_asked_again_and_its_answer_is_the_next_ones_too() -> None:
    hangs, asked = threading.Event(), []
    probes = Probes(0.1)

    def hang() -> str:
        asked.append(1)
        hangs.wait(60)
        return "at last"

    for _ in range(3):
        assert probes.ask({"slow": hang})["slow"].startswith("No answer")
    assert len(asked) == 1
    probes._patience = 10.0
    hangs.set()
    assert probes.ask({"slow": lambda: "asked anew"})["slow"] in ("at last", "asked anew")
    assert len(asked) == 1


def test_one_that_hangs_for_too_long_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.probes._GIVEN_UP", 0.0)
    hangs = threading.Event()
    probes = Probes(0.1)
    assert probes.ask({"x": lambda: "never" if hangs.wait(60) else ""})["x"].startswith("No answer")
    assert probes.ask({"x": lambda: "back"}) == {"x": "back"}
    hangs.set()


def test_an_error_of_ours_is_not_an_answer() -> None:
    with pytest.raises(ZeroDivisionError):
        Probes().ask({"x": lambda: str(1 / 0)})
