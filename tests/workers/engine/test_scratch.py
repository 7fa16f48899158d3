"""Scratch folders never outlive their worker for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.scratch import Scratch


def test_an_attempt_has_a_folder_that_is_gone_afterwards(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, "wrk_1")
    with scratch.attempt("k-1") as folder:
        assert sorted(each.name for each in folder.iterdir()) == ["inputs", "tmp", "told", "work"]
        (folder / "work" / "file").write_text("x")
    assert not folder.exists()
    scratch.close()
    assert not (tmp_path / "wrk_1").exists()


def test_the_folder_is_removed_when_the_attempt_fails(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, "wrk_1")
    with pytest.raises(ZeroDivisionError), scratch.attempt("k-1") as folder:
        raise ZeroDivisionError
    assert not folder.exists()
    scratch.close()


def test_what_dead_workers_left_is_swept_and_the_living_keep_theirs(tmp_path: Path) -> None:
    (tmp_path / "wrk_dead" / "k-1" / "work").mkdir(parents=True)
    (tmp_path / "wrk_dead" / "lock").touch()
    (tmp_path / "wrk_deader").mkdir()
    living = Scratch(tmp_path, "wrk_living")
    assert {each.name for each in tmp_path.iterdir() if each.is_dir()} == {"wrk_living"}
    other = Scratch(tmp_path, "wrk_other")
    with living.attempt("k-1") as folder:
        assert folder.exists()
    other.close()
    living.close()
