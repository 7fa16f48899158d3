"""What a step prints, read while it is being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.step_log import StepLog


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def test_there_may_be_no_log_yet(log: Path) -> None:
    reader = StepLog(log)
    assert reader.lines() == []
    assert (reader.taken(), reader.unread()) == (0, 0)


def test_half_a_line_waits_for_its_end_or_for_that_of_the_step(log: Path) -> None:
    log.write_text("one\n\ntw")
    reader = StepLog(log)
    assert reader.lines() == ["one"]
    reader.taken()
    assert reader.lines() == []
    assert reader.lines(ended=True) == ["tw"]


def test_lines_that_could_not_be_kept_come_again(log: Path) -> None:
    log.write_text("one\n")
    reader = StepLog(log)
    assert reader.lines() == reader.lines() == ["one"]
    assert reader.taken() == 4
    assert reader.lines() == []


def test_no_line_of_many_gets_lost(log: Path) -> None:
    every = [f"line {number}" for number in range(1000)]
    log.write_text("\n".join(every))
    reader, found = StepLog(log), list[str]()
    while reader.unread():
        batch = reader.lines(ended=True)
        assert len(batch) <= 100
        found += batch
        reader.taken()
    assert found == every


def test_a_line_without_an_end_is_taken_in_pieces(log: Path) -> None:
    log.write_bytes(b"x" * 200_000)
    reader, reads = StepLog(log), 0
    while reader.unread() and reads < 10:
        assert all(len(line) <= 500 for line in reader.lines(ended=True))
        reader.taken()
        reads += 1
    assert reads == 4


def test_of_a_progress_bar_the_last_state_is_kept(log: Path) -> None:
    log.write_bytes(b"10 %\r50 %\r100 %\r\n")
    assert StepLog(log).lines() == ["100 %"]
