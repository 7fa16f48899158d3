"""What is new of several jobs."""

from __future__ import annotations

from collections.abc import Mapping

from storage import news
from storage.news import News
from tests.storage.scene import Scene


def since(scene: Scene, seen: Mapping[str, int], most: int = 100) -> dict[str, News]:
    with scene.database.read() as tx:
        return news.since(tx, seen, most)


def test_each_job_has_its_events_above_what_was_seen(scene: Scene) -> None:
    first, attempt = scene.leased()
    scene.heartbeat(attempt, progress=0.5, doing="x", log=["one", "two"])
    second, quiet, other = scene.queued(), scene.queued(), scene.queued()
    found = since(scene, {first: 3, second: 0, quiet: 1})
    assert other not in found
    assert found[first].events == tuple(scene.events(first)[3:])
    assert found[second].events == tuple(scene.events(second))
    assert found[quiet] == News(state="queued", finished_at=None, revision=1, events=())


def test_more_events_than_asked_for_are_told_by_the_revision(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, log=[str(number) for number in range(20)])
    found = since(scene, {job_id: 2}, most=5)[job_id]
    assert [event.id for event in found.events] == [3, 4, 5, 6, 7]
    assert found.revision == scene.job(job_id).revision == 25


def test_the_end_of_a_job_comes_with_its_last_event(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.commit(attempt)
    scene.succeed_job(job_id)
    found = since(scene, {job_id: 0})[job_id]
    assert (found.state, found.finished_at) == ("succeeded", scene.clock.now)
    assert found.events[-1].id == found.revision


def test_a_job_that_does_not_exist_is_left_out(scene: Scene) -> None:
    job_id = scene.queued()
    assert set(since(scene, {job_id: 0, "job_none": 0})) == {job_id}
