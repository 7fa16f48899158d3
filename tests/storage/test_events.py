"""The history of a job."""

from __future__ import annotations

from storage import bindings, events
from tests.storage.scene import Clock, Scene, chain


def test_ids_grow_by_one_and_end_at_the_revision(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, progress=0.5, doing="x", log=["one", "two"])
    scene.commit(attempt)
    ids = [event.id for event in scene.events(job_id)]
    assert ids == list(range(1, len(ids) + 1))
    assert scene.job(job_id).revision == ids[-1]


def test_each_job_counts_for_itself(scene: Scene) -> None:
    first, second = scene.queued(), scene.queued()
    assert [event.id for event in scene.events(first)] == [event.id for event in scene.events(second)] == [1]


def test_the_whole_story_of_a_step(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, progress=0.5, doing="x")
    scene.fail(attempt, retry_in=0.0)
    scene.commit(scene.won().attempt)
    scene.succeed_job(job_id)
    assert scene.kinds(job_id) == [
        "job.queued", "job.planned", "step.ready", "step.leased", "step.progress", "step.retry", "step.leased",
        "step.done", "job.succeeded",
    ]  # fmt: skip


def test_a_page_starts_after_an_id(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, log=[str(number) for number in range(20)])
    whole = scene.events(job_id)
    with scene.database.read() as tx:
        first = events.of_job(tx, job_id, 0, 10)
        second = events.of_job(tx, job_id, first[-1].id, 10)
        third = events.of_job(tx, job_id, second[-1].id, 10)
        assert events.of_job(tx, job_id, whole[-1].id, 10) == []
    assert [*first, *second, *third] == whole


def test_an_event_tells_when_and_of_which_step(scene: Scene, clock: Clock) -> None:
    job_id = scene.ready()
    clock.pass_(7)
    scene.won()
    event = scene.events(job_id)[-1]
    assert (event.at, event.step, event.kind) == (clock.now, "capture", "step.leased")
    assert event.data == {"worker": "w1", "attempt": 1}


def test_a_job_sees_a_shared_computation_from_its_binding_on(scene: Scene) -> None:
    first, attempt = scene.leased()
    scene.heartbeat(attempt, log=["before"])
    second = scene.ready()
    scene.heartbeat(attempt, log=["after"])

    def lines(job_id: str) -> list[str]:
        return [event.data["line"] for event in scene.events(job_id) if event.kind == "log"]

    assert lines(first) == ["before", "after"]
    assert lines(second) == ["after"]


def test_an_ended_step_hears_nothing_more(scene: Scene) -> None:
    first, attempt = scene.leased()
    scene.ready()
    scene.cancel(first)
    before = scene.kinds(first)
    scene.heartbeat(attempt, log=["late"])
    scene.commit(attempt)
    assert scene.kinds(first) == before


def test_an_event_can_be_added_by_key(scene: Scene) -> None:
    job_ids = [scene.ready(), scene.ready()]
    with scene.database.begin() as tx:
        bindings.lock(tx, ["k"])
        events.add(tx, "log", {"line": "hello"}, key="k")
    for job_id in job_ids:
        assert scene.events(job_id)[-1].data == {"line": "hello"}


def test_every_kind_that_is_written_is_listed(scene: Scene) -> None:
    job_id = scene.running(*chain("capture", "prune"))
    scene.bind(job_id, "capture", "k")
    scene.cancel(job_id)
    assert set(scene.kinds(job_id)) <= set(events.KINDS)
    assert len(events.KINDS) == len(set(events.KINDS)) == 15


def test_events_of_some_kinds_alone(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, progress=0.5, doing="x", log=["one", "two"])
    with scene.database.read() as tx:
        found = events.of_job(tx, job_id, 0, 10, ("log", "step.leased"))
    assert [event.kind for event in found] == ["step.leased", "log", "log"]


def test_the_newest_events_come_in_their_order(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    scene.heartbeat(attempt, log=[str(number) for number in range(20)])
    scene.commit(attempt)
    with scene.database.read() as tx:
        last = events.last_of_job(tx, job_id, 3)
        lines = events.last_of_job(tx, job_id, 2, ("log",))
    assert last == scene.events(job_id)[-3:]
    assert [event.data["line"] for event in lines] == ["18", "19"]
