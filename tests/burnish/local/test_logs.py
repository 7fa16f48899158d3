"""Logs: their ends, and their length."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.local import logs


def test_the_end_of_a_log_is_its_last_lines_after_an_offset(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n\none\ntwo\nthree\n")
    assert logs.tail(log, lines=2) == "two\nthree"
    assert logs.tail(log, after=4) == "one\ntwo\nthree"


def test_a_log_that_is_empty_or_not_there_is_told(tmp_path: Path) -> None:
    assert logs.tail(tmp_path / "none") == "(its log is empty)"


def test_a_log_that_grew_too_long_is_set_aside_and_its_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LIMIT", 10)
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"short")
        logs.trim(log)
        writer.write(b" and then long")
        logs.trim(log)
        writer.write(b"new")
    assert log.read_bytes() == b"new"
    assert (tmp_path / "log.1").read_bytes() == b"short and then long"
    logs.trim(tmp_path / "none")
