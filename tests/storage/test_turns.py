"""Priorities that can be changed, and ageing: nothing waits for ever."""

from __future__ import annotations

import pytest

from burnish.errors import Conflict, NotFound
from storage import jobs, ready
from storage.turns import AGEING, present_priority, turn
from tests.storage.scene import Clock, Scene, chain


def _prioritize(scene: Scene, job_id: str, priority: int) -> None:
    with scene.database.begin() as tx:
        jobs.set_priority(tx, job_id, priority)


def _priorities(scene: Scene) -> list[int]:
    """With which the doorbells of what is due are rung."""
    with scene.database.begin() as tx:
        return [each.priority for each in ready.due(tx, 10, tx.now)]


def test_what_is_more_urgent_comes_first_and_of_two_alike_the_older(scene: Scene, clock: Clock) -> None:
    for key, priority in (("a", 5), ("b", 2), ("c", 5), ("d", 9)):
        scene.ready(key, priority=priority)
        clock.pass_(1.0)
    assert scene.due() == ["b", "a", "c", "d"]


def test_waiting_is_worth_a_level_of_priority_after_a_while(scene: Scene, clock: Clock) -> None:
    scene.ready("patient", priority=5)
    clock.pass_(AGEING - 1)
    scene.ready("early", priority=4)
    clock.pass_(2)
    scene.ready("late", priority=4)
    assert scene.due() == ["early", "patient", "late"]


def test_the_least_urgent_is_overtaken_for_no_longer_than_nine_levels(scene: Scene, clock: Clock) -> None:
    scene.ready("least", priority=9)
    taken: list[str] = []
    for number in range(20):  # an urgent one comes a little after every half level, and one is taken each time
        scene.ready(f"urgent {number}", priority=0)
        taken += scene.due(limit=1, redispatch=10 * AGEING)
        clock.pass_(AGEING / 2 + 1)
    assert taken.index("least") == 18


def test_the_doorbell_of_what_has_waited_rings_with_more_urgency(scene: Scene, clock: Clock) -> None:
    scene.ready(priority=9)
    seen: list[int] = []
    for _ in range(11):
        seen += _priorities(scene)
        clock.pass_(AGEING)
    assert seen == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]


def test_a_later_step_of_a_job_keeps_the_time_that_the_job_has_waited(scene: Scene, clock: Clock) -> None:
    old = scene.running(*chain("capture", "prune"), priority=5)
    clock.pass_(2 * AGEING)
    scene.ready("new", priority=4)
    scene.bind(old, "capture", "of the old")
    assert scene.due() == ["of the old", "new"]


def test_of_one_job_the_steps_go_in_the_order_of_the_plan(scene: Scene) -> None:
    job_id = scene.running(*chain("capture", "prune", "distill"), priority=5)
    for step, key in (("distill", "a"), ("capture", "c"), ("prune", "b")):
        scene.bind(job_id, step, key)
    assert scene.due() == ["c", "b", "a"]
    _prioritize(scene, job_id, 0)
    assert scene.due() == ["c", "b", "a"]


def test_the_order_of_planning_ages_too(scene: Scene, clock: Clock) -> None:
    patient = scene.queued(priority=9)
    clock.pass_(4.5 * AGEING)
    urgent, alike = scene.queued(priority=2), scene.queued(priority=5)
    with scene.database.begin() as tx:
        assert [job.id for job in jobs.unplanned(tx, 10)] == [urgent, patient, alike]


def test_a_turn_is_a_priority_that_grows() -> None:
    assert present_priority(turn(100.0, 3), 100.0) == 3
    assert present_priority(turn(100.0, 3), 100.0 + 2.5 * AGEING) == 1
    assert present_priority(turn(100.0, 3), 100.0 + 50 * AGEING) == 0
    assert present_priority(turn(100.0, 9), 0.0) == 9
    assert present_priority(turn(100.0, 3, position=50), 100.0) == 3


def test_a_queued_job_can_be_hurried(scene: Scene) -> None:
    first, second = scene.queued(priority=5), scene.queued(priority=5)
    with scene.database.begin() as tx:
        jobs.unplanned(tx, 10)
    _prioritize(scene, second, 1)
    assert scene.job(second).priority == 1
    assert scene.kinds(second)[-1] == "job.priority"
    with scene.database.begin() as tx:
        rung = jobs.unplanned(tx, 10)  # the other's doorbell was rung just now
    assert [job.id for job in rung] == [second]
    assert scene.job(first).priority == 5


def test_the_ready_steps_of_a_running_job_move_with_it_and_ring_again(scene: Scene, clock: Clock) -> None:
    for key in ("a", "b"):
        scene.ready(key, priority=5)
        clock.pass_(0.1)
    hurried = scene.ready("c", priority=5)
    assert scene.due() == ["a", "b", "c"]
    _prioritize(scene, hurried, 0)
    assert scene.due() == ["c"]
    clock.pass_(1.0)
    assert scene.due(redispatch=0.0) == ["c", "a", "b"]


def test_a_job_can_be_put_back_unless_another_hurries_what_they_share(scene: Scene) -> None:
    one, other = scene.ready(priority=4), scene.ready(priority=6)
    _prioritize(scene, one, 8)
    assert scene.computation().priority == 6
    _prioritize(scene, other, 9)
    assert scene.computation().priority == 8


def test_a_running_step_keeps_running_and_takes_the_new_turn_if_its_worker_dies(scene: Scene, clock: Clock) -> None:
    job_id, attempt = scene.leased()
    _prioritize(scene, job_id, 0)
    found = scene.computation()
    assert (found.state, found.attempt, found.priority) == ("leased", attempt, 0)
    clock.pass_(scene.ttl + 1)
    scene.reap()
    assert (scene.computation().state, scene.computation().priority) == ("ready", 0)


def test_the_same_priority_again_changes_nothing(scene: Scene) -> None:
    job_id = scene.queued(priority=5)
    before = scene.job(job_id).revision
    _prioritize(scene, job_id, 5)
    assert scene.job(job_id).revision == before


def test_a_job_that_has_ended_has_no_priority_to_change(scene: Scene) -> None:
    job_id = scene.queued()
    scene.cancel(job_id)
    with pytest.raises(Conflict, match="is canceled"):
        _prioritize(scene, job_id, 0)


def test_a_job_that_does_not_exist_has_none(scene: Scene) -> None:
    with pytest.raises(NotFound):
        _prioritize(scene, "job_x", 0)
