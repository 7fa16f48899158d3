"""Uploaded datasets."""

from __future__ import annotations

import pytest

from burnish.errors import NotFound
from storage import datasets
from tests.storage.scene import Clock, Scene


def test_a_dataset_is_stored_as_it_was_given(scene: Scene, clock: Clock) -> None:
    made = scene.dataset()
    with scene.database.read() as tx:
        assert datasets.get(tx, made.id) == made
    assert made.id.startswith("dst_")
    assert (made.format, made.samples, made.labelled, made.created_at) == ("npz", 9, True, clock.now)


def test_the_same_bytes_under_one_name_are_one_row(scene: Scene) -> None:
    assert scene.dataset("digits", "a" * 64) == scene.dataset("digits", "a" * 64)
    assert scene.dataset("digits", "a" * 64) != scene.dataset("faces", "a" * 64)


def test_a_name_stands_for_its_newest(scene: Scene) -> None:
    old, new = scene.dataset("digits", "a" * 64), scene.dataset("digits", "b" * 64)
    with scene.database.read() as tx:
        assert datasets.resolve(tx, "digits") == new
        assert datasets.resolve(tx, old.id) == old


def test_what_names_no_dataset_is_not_found(scene: Scene) -> None:
    with scene.database.read() as tx:
        for call in (datasets.get, datasets.resolve):
            with pytest.raises(NotFound, match="There is no dataset"):
                call(tx, "dst_x")


def test_a_list_is_paged_newest_first_and_filtered_by_name(scene: Scene) -> None:
    made = [scene.dataset("digits", digest * 64) for digest in "abc"]
    other = scene.dataset("faces")
    with scene.database.read() as tx:
        assert datasets.list_(tx, after=None, limit=2) == [other, made[2]]
        assert datasets.list_(tx, after=made[2].id, limit=9) == [made[1], made[0]]
        assert datasets.list_(tx, after=None, limit=9, name="faces") == [other]
