"""What is told of the workers: each computation once, with the live jobs that it is for."""

from __future__ import annotations

from storage import fleet
from tests.storage.scene import Scene, chain


def test_nothing_runs_nothing_is_told(scene: Scene) -> None:
    with scene.database.read() as tx:
        assert fleet.at_work(tx) == {}


def test_a_computation_that_two_jobs_share_is_told_once_with_both(scene: Scene) -> None:
    first, second = (scene.running(*chain("capture")) for _ in range(2))
    for job in (first, second):
        scene.bind(job, "capture", key="shared")
    scene.won("shared", worker="wrk_a")
    with scene.database.read() as tx:
        ((worker, (running,)),) = fleet.at_work(tx).items()
    assert (worker, running.op, running.progress) == ("wrk_a", "capture", 0.0)
    assert [(each.id, each.step, each.model) for each in running.jobs] == [
        (job, "capture", "lenet:1") for job in sorted((first, second))
    ]


def test_a_job_that_has_ended_is_not_named(scene: Scene) -> None:
    ended, other = (scene.running(*chain("capture")) for _ in range(2))
    for job in (ended, other):
        scene.bind(job, "capture", key="shared")
    scene.won("shared", worker="wrk_a")
    assert scene.fail_job(ended)
    with scene.database.read() as tx:
        ((running,),) = fleet.at_work(tx).values()
    assert [each.id for each in running.jobs] == [other]
