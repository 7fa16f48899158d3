"""Uploaded models: versions, and the ways to name one."""

from __future__ import annotations

import pytest

from burnish.errors import NotFound
from storage import models
from tests.storage.scene import Clock, Scene


def test_versions_of_a_name_count_from_one(scene: Scene) -> None:
    versions = [scene.model("lenet", digest * 64).version for digest in "abc"]
    assert versions == [1, 2, 3]
    assert scene.model("resnet", "a" * 64).version == 1


def test_the_same_bytes_under_one_name_are_one_version(scene: Scene) -> None:
    first = scene.model("lenet", "a" * 64)
    scene.model("lenet", "b" * 64)
    assert scene.model("lenet", "a" * 64) == first


def test_a_model_is_stored_as_it_was_given(scene: Scene, clock: Clock) -> None:
    made = scene.model("lenet", "a" * 64)
    with scene.database.read() as tx:
        assert models.get(tx, made.id) == made
    assert made.id.startswith("mdl_")
    assert (made.ref, made.signature, made.created_at) == ("lenet:1", {"inputs": []}, clock.now)


def test_a_model_is_found_by_id_name_or_version(scene: Scene) -> None:
    old, new = scene.model("lenet", "a" * 64), scene.model("lenet", "b" * 64)
    with scene.database.read() as tx:
        assert models.resolve(tx, old.id) == old
        assert models.resolve(tx, "lenet") == new
        assert models.resolve(tx, "lenet:1") == old
        assert models.resolve(tx, "lenet:2") == new


@pytest.mark.parametrize("ref", ["mdl_x", "other", "lenet:2", "lenet:", "lenet:x", "lenet:99999999999999999999", ":1"])
def test_what_names_no_model_is_not_found(scene: Scene, ref: str) -> None:
    scene.model("lenet")
    with scene.database.read() as tx, pytest.raises(NotFound, match="There is no model"):
        models.resolve(tx, ref)


def test_an_unknown_id_is_not_found(scene: Scene) -> None:
    with scene.database.read() as tx, pytest.raises(NotFound):
        models.get(tx, "mdl_x")


def test_a_list_is_paged_newest_first_and_filtered_by_name(scene: Scene) -> None:
    made = [scene.model("lenet", digest * 64) for digest in "abcd"]
    other = scene.model("resnet")
    with scene.database.read() as tx:
        assert models.list_(tx, after=None, limit=2) == [other, made[3]]
        assert models.list_(tx, after=made[3].id, limit=2) == [made[2], made[1]]
        assert models.list_(tx, after=None, limit=9, name="lenet") == made[::-1]
