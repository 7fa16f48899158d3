"""Aliases: what stands under a name, what was before, and that its bytes stay."""

from __future__ import annotations

import math

import pytest

from burnish.errors import Conflict, NotFound
from storage import aliases, blob_uses, eviction, removal
from storage.blobs_local import LocalBlobs
from storage.database import Database
from tests.storage.scene import Clock
from tests.storage.schedule_scene import ScheduleScene


@pytest.fixture
def scene(database: Database, clock: Clock) -> ScheduleScene:
    return ScheduleScene(database, clock)


def current(scene: ScheduleScene) -> str:
    with scene.database.read() as tx:
        return aliases.get(tx, "net", "production").digest


def rollback(scene: ScheduleScene) -> aliases.Entry:
    with scene.database.begin() as tx:
        return aliases.rollback(tx, "net", "production", "Back.")


def refers(scene: ScheduleScene, digest: str) -> bool:
    with scene.database.read() as tx:
        return blob_uses.refers(tx, digest)


def test_an_alias_stands_for_what_was_set_last(scene: ScheduleScene) -> None:
    first, second = scene.alias(), scene.alias()
    assert (first.revision, second.revision, second.previous_id) == (1, 2, first.id)
    assert current(scene) == second.digest
    assert second.model_version == "net:1"


def test_an_alias_of_nothing_is_not_found(scene: ScheduleScene) -> None:
    with scene.database.begin() as tx:
        assert aliases.find(tx, "net", "production") is None
        for act in (aliases.get, aliases.remove):
            with pytest.raises(NotFound, match="stands for nothing"):
                act(tx, "net", "production")


def test_the_same_bytes_again_change_nothing(scene: ScheduleScene) -> None:
    artifact = scene.artifact()
    assert scene.alias(artifact) == scene.alias(artifact)


def test_a_rollback_goes_one_step_back_each_time_and_then_no_further(scene: ScheduleScene) -> None:
    first, second, third = (scene.alias() for _ in range(3))
    back = rollback(scene)
    assert (back.digest, back.action, back.revision) == (second.digest, "rolled_back", 4)
    assert rollback(scene).digest == first.digest
    with pytest.raises(Conflict, match="nothing before"):
        rollback(scene)
    with scene.database.read() as tx:
        history = aliases.history(tx, "net", "production", after=None, limit=10)
    assert [entry.digest for entry in history] == [each.digest for each in (first, second, third, second, first)]


def test_after_a_rollback_the_next_one_stands_on_what_it_brought_back(scene: ScheduleScene) -> None:
    first, _ = scene.alias(), scene.alias()
    back = rollback(scene)
    new = scene.alias()
    assert (back.digest, new.previous_id) == (first.digest, back.id)
    assert rollback(scene).digest == first.digest


def test_whoever_expects_another_artifact_there_is_refused(scene: ScheduleScene) -> None:
    first = scene.alias(expected=None)
    with pytest.raises(Conflict, match="another artifact by now"):
        scene.alias(expected=None)
    second = scene.alias(expected=first.id)
    with pytest.raises(Conflict, match="another artifact by now"):
        scene.alias(expected=first.id)
    assert current(scene) == second.digest


def test_bytes_that_are_gone_can_be_set_no_more(scene: ScheduleScene) -> None:
    gone = scene.artifact().model_copy(update={"digest": "d" * 64})
    with pytest.raises(Conflict, match="not in the store any more"):
        scene.alias(gone)
    with scene.database.read() as tx:
        assert aliases.history(tx, "net", "production", after=None, limit=10) == []


def test_removed_it_stands_for_nothing_and_its_history_stays(scene: ScheduleScene) -> None:
    entry = scene.alias()
    with scene.database.begin() as tx:
        assert aliases.remove(tx, "net", "production") == entry
        assert aliases.list_(tx, "net") == []
        assert len(aliases.history(tx, "net", "production", after=None, limit=10)) == 1
    assert not refers(scene, entry.digest)
    assert scene.alias().revision == 2


def test_aliases_of_a_model_are_listed_by_name(scene: ScheduleScene) -> None:
    scene.alias(alias="production")
    scene.alias(alias="canary")
    with scene.database.read() as tx:
        assert [entry.alias for entry in aliases.list_(tx, "net")] == ["canary", "production"]
        assert aliases.list_(tx, "other") == []


def test_the_bytes_of_the_steps_back_are_kept_and_no_more_than_ten(scene: ScheduleScene, store: LocalBlobs) -> None:
    made = [scene.alias() for _ in range(aliases.KEPT + 2)]
    assert [refers(scene, each.digest) for each in made] == [False] * 2 + [True] * aliases.KEPT
    with scene.database.read() as tx:
        removable = removal.removable(tx, before=math.inf, limit=100)
        assert eviction.cache_size(tx) == sum(each.artifact["size"] for each in made[:2])
    assert set(removable) == {each.digest for each in made[:2]}
    with scene.database.begin() as tx:
        assert removal.remove(tx, store, made[-1].digest, before=math.inf) is None
        assert removal.remove(tx, store, made[0].digest, before=math.inf) is not None
    for _ in range(aliases.KEPT - 1):
        rollback(scene)
    assert current(scene) == made[2].digest


def test_damaged_bytes_of_an_alias_are_removed_so_that_they_are_made_anew(
    scene: ScheduleScene, store: LocalBlobs
) -> None:
    entry = scene.alias()
    with scene.database.begin() as tx:
        assert removal.discard(tx, store, entry.digest)
