"""Events are written together, at the end of the transaction that makes them."""

from __future__ import annotations

from storage import computations, events, jobs
from tests.storage.scene import Scene


def _lines(scene: Scene, job_id: str) -> list[str]:
    return [event.data["line"] for event in scene.events(job_id) if event.kind == "log"]


def test_they_are_numbered_in_the_order_they_were_made_in_each_job_for_itself(scene: Scene) -> None:
    first, second = scene.queued(), scene.queued()
    with scene.database.begin() as tx:
        for number in range(3):
            for job_id in (second, first):
                events.add(tx, "log", {"line": f"{number}"}, job_id=job_id)
    for job_id in (first, second):
        assert _lines(scene, job_id) == ["0", "1", "2"]
        assert [event.id for event in scene.events(job_id)] == [1, 2, 3, 4]
        assert scene.job(job_id).revision == 4


def test_the_transaction_itself_sees_them_and_the_revision(scene: Scene) -> None:
    job_id = scene.queued()
    with scene.database.begin() as tx:
        events.add(tx, "log", {"line": "one"}, job_id=job_id)
        assert jobs.get(tx, job_id).revision == jobs.version(tx, job_id) == 2
        events.add(tx, "log", {"line": "two"}, job_id=job_id)
        assert [event.id for event in events.of_job(tx, job_id)] == [1, 2, 3]
    assert _lines(scene, job_id) == ["one", "two"]


def test_what_is_taken_back_is_not_told_and_what_came_before_is(scene: Scene) -> None:
    job_id = scene.queued()
    with scene.database.begin() as tx:
        events.add(tx, "log", {"line": "before"}, job_id=job_id)
        undo = tx.mark()
        events.add(tx, "log", {"line": "taken back"}, job_id=job_id)
        assert jobs.version(tx, job_id) == 3  # written, inside what is taken back
        undo()
        events.add(tx, "log", {"line": "after"}, job_id=job_id)
    assert _lines(scene, job_id) == ["before", "after"]
    assert scene.job(job_id).revision == 3


def test_the_last_lines_of_a_log_come_before_the_end_of_the_step(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    with scene.database.begin() as tx:
        computations.commit(tx, "k", attempt, outputs={}, report={}, seconds=1.0, peak_memory=None, log=["one", "two"])
    assert scene.kinds(job_id)[-3:] == ["log", "log", "step.done"]
