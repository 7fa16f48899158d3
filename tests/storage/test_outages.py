"""Leases that lapsed while nobody could renew them."""

from __future__ import annotations

from storage import computations, outages
from storage.outages import GAP, GRACE
from tests.storage.scene import Clock, Scene


def _look(scene: Scene) -> int:
    """A round of the tick."""
    with scene.database.begin() as tx:
        spared = outages.spare(tx)
        computations.reap(tx)
    return spared


def _state(scene: Scene) -> tuple[str, int]:
    with scene.database.read() as tx:
        found = computations.get(tx, "k")
    assert found is not None
    return found.state, found.failures


def test_a_lease_that_lapsed_while_nobody_looked_is_not_lost_for_a_while(scene: Scene, clock: Clock) -> None:
    scene.leased()
    _look(scene)
    clock.pass_(600)
    assert _look(scene) == 1
    clock.pass_(GRACE - 1)
    for _ in range(2):
        _look(scene)
    assert _state(scene) == ("leased", 0)


def test_its_worker_renews_it_then_as_ever(scene: Scene, clock: Clock) -> None:
    _, attempt = scene.leased()
    _look(scene)
    clock.pass_(600)
    _look(scene)
    assert scene.heartbeat(attempt) == "go"


def test_a_worker_that_died_meanwhile_loses_it_a_little_later(scene: Scene, clock: Clock) -> None:
    scene.leased()
    _look(scene)
    clock.pass_(600)
    _look(scene)
    for _ in range(4):
        clock.pass_(GRACE / 3)
        _look(scene)
    assert _state(scene) == ("ready", 1)


def test_while_somebody_looks_a_lease_that_lapses_is_lost(scene: Scene, clock: Clock) -> None:
    scene.leased()
    for _ in range(8):
        clock.pass_(GAP - 1)
        assert _look(scene) == 0
    assert _state(scene) == ("ready", 1)


def test_the_first_look_ever_spares_nobody(scene: Scene, clock: Clock) -> None:
    scene.leased()
    clock.pass_(600)
    assert _look(scene) == 0
    assert _state(scene) == ("ready", 1)
