"""Models by name: each name once, its versions and results newest first."""

from __future__ import annotations

from storage import versions
from tests.storage.scene import Scene


def test_each_name_is_told_once_with_its_newest_version_the_last_upload_first(scene: Scene) -> None:
    scene.model("a", digest="1" * 64)
    scene.model("b", digest="2" * 64)
    newest = scene.model("a", digest="3" * 64)
    with scene.database.read() as tx:
        found = versions.named(tx, after=None, limit=10)
    assert [(each.newest.ref, each.versions) for each in found] == [("a:2", 2), ("b:1", 1)]
    assert found[0].newest == newest


def test_pages_of_names_neither_leave_one_out_nor_tell_one_twice(scene: Scene) -> None:
    for index, name in enumerate("abcab"):
        scene.model(name, digest=f"{index:064x}")
    with scene.database.read() as tx:
        first = versions.named(tx, after=None, limit=2)
        second = versions.named(tx, after=first[-1].id, limit=2)
    assert [each.newest.name for each in (*first, *second)] == ["b", "a", "c"]


def test_versions_and_results_of_a_name_are_told_newest_first(scene: Scene) -> None:
    for digest in "123":
        scene.model("lenet", digest=digest * 64)
    scene.model("other", digest="4" * 64)
    first, second = scene.running(), scene.running()
    open_ = scene.running()
    for job in (first, second):
        assert scene.succeed_job(job)
    with scene.database.read() as tx:
        assert [each.version for each in versions.of_name(tx, "lenet", limit=2)] == [4, 3]
        assert [job.id for job in versions.results(tx, "lenet", limit=10)] == [second, first]
        assert versions.results(tx, "other", limit=10) == []
    assert open_
