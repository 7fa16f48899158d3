"""A step whose input the store lost sends its jobs back to what made it."""

from __future__ import annotations

import pytest

from burnish.errors import InternalError
from storage import blob_index, computations, jobs, recovery, removal, steps
from storage.blob_digest import Blob
from storage.blobs_local import LocalBlobs
from storage.tables import blobs
from tests.storage.scene import Scene, chain

OUTPUT = "c" * 64
"""What `Scene.commit` names as output."""
ERROR = InternalError("Gone.", cure="Wait.").document()


def reading(scene: Scene) -> tuple[str, int]:
    """A job whose first step is done, and whose second has begun to read the output of it: the job and the attempt."""
    job_id = scene.running(*chain("capture", "prune", "quantize"))
    scene.bind(job_id, "capture", "k")
    scene.commit(scene.won("k").attempt, "k")
    return job_id, begin(scene, job_id)


def begin(scene: Scene, job_id: str) -> int:
    bind(scene, job_id)
    return scene.won("l").attempt


def bind(scene: Scene, job_id: str) -> None:
    with scene.database.begin() as tx:
        jobs.lock(tx, job_id)
        (found,) = (each for each in steps.of_job(tx, job_id) if each.name == "prune")
        steps.bind(
            tx, found, key="l", inputs={"in": OUTPUT}, key_parts={}, queue="cpu", alone=False,
            priority=5,
        )  # fmt: skip


def recompute(scene: Scene, attempt: int, digest: str = OUTPUT, key: str = "l") -> list[str] | None:
    with scene.database.begin() as tx:
        return recovery.recompute(tx, key, attempt, digest, ERROR)


def test_the_step_and_what_made_its_input_wait_again(scene: Scene) -> None:
    job_id, attempt = reading(scene)
    assert recompute(scene, attempt) == [job_id]
    assert scene.states(job_id) == {"capture": "waiting", "prune": "waiting", "quantize": "waiting"}
    assert scene.computation("k").state == "failed"
    assert scene.computation("l").state == "canceled"
    assert scene.computation("l").failures == 0
    assert [event.data for event in scene.events(job_id) if event.kind == "step.retry"] == [{"lost": OUTPUT}] * 2


def test_then_both_are_computed_again_and_the_job_goes_on(scene: Scene) -> None:
    job_id, attempt = reading(scene)
    recompute(scene, attempt)
    scene.bind(job_id, "capture", "k")
    assert scene.states(job_id)["capture"] == "ready"
    scene.commit(scene.won("k").attempt, "k")
    assert scene.commit(begin(scene, job_id), "l") == [job_id]
    assert scene.states(job_id) == {"capture": "done", "prune": "done", "quantize": "waiting"}


def test_every_running_job_that_shares_the_step_goes_back(scene: Scene) -> None:
    first, attempt = reading(scene)
    second = scene.running(*chain("capture", "prune"))
    scene.bind(second, "capture", "k")
    bind(scene, second)
    assert recompute(scene, attempt) == sorted([first, second])
    assert scene.states(second) == {"capture": "waiting", "prune": "waiting"}


def test_what_is_made_again_already_is_only_waited_for(scene: Scene) -> None:
    """Two steps read the lost blob: the second finds that the first has sent the job back."""
    job_id, attempt = reading(scene)
    with scene.database.begin() as tx:
        computations.disown(tx, OUTPUT, ERROR)
    other = scene.running()
    scene.bind(other, "capture", "k")
    running = scene.won("k").attempt
    assert recompute(scene, attempt) == [job_id]
    assert scene.computation("k").state == "leased"
    scene.bind(job_id, "capture", "k")
    assert scene.commit(running, "k") == sorted([job_id, other])


def test_an_upload_cannot_be_made_again(scene: Scene) -> None:
    job_id, attempt = scene.leased()
    assert recompute(scene, attempt, "0" * 64, "k") is None
    assert scene.states(job_id) == {"capture": "leased"}
    assert scene.fail(attempt) == [job_id]


def test_a_store_that_loses_it_again_and_again_lets_the_step_fail(scene: Scene) -> None:
    job_id, attempt = reading(scene)
    for _ in range(recovery.MOST):
        assert recompute(scene, attempt) == [job_id]
        scene.bind(job_id, "capture", "k")
        scene.commit(scene.won("k").attempt, "k")
        attempt = begin(scene, job_id)
    assert recompute(scene, attempt) is None
    assert scene.states(job_id)["prune"] == "leased"


def test_an_attempt_that_lost_its_lease_changes_nothing(scene: Scene) -> None:
    job_id, attempt = reading(scene)
    scene.clock.pass_(scene.ttl + 1)
    scene.won("l", worker="w2")
    assert recompute(scene, attempt) == []
    assert scene.states(job_id) == {"capture": "done", "prune": "leased", "quantize": "waiting"}
    assert scene.computation("k").state == "done"


def test_a_job_that_is_being_canceled_ends(scene: Scene) -> None:
    job_id, attempt = reading(scene)
    assert scene.cancel(job_id).state == "canceling"
    assert recompute(scene, attempt) == []
    assert scene.job(job_id).state == "canceled"


@pytest.mark.parametrize("upload", [False, True])
def test_damaged_bytes_are_discarded_unless_they_are_an_upload(scene: Scene, store: LocalBlobs, upload: bool) -> None:
    digest = store.put([b"damaged"]).digest
    with scene.database.begin() as tx:
        held = blob_index.hold(tx, Blob(digest=digest, size=7))
    if upload:
        scene.model(digest=digest)
    with scene.database.begin() as tx:
        assert removal.discard(tx, store, digest) is not upload
        assert blob_index.confirm(tx, held) is upload
        assert (tx.execute(blobs.select()).first() is not None) is upload
    assert (store.size(digest) is not None) is upload


def test_an_output_that_is_still_a_hit_is_not_discarded(scene: Scene, store: LocalBlobs) -> None:
    _, attempt = scene.leased()
    scene.commit(attempt)
    with scene.database.begin() as tx:
        assert not removal.discard(tx, store, OUTPUT)
        computations.disown(tx, OUTPUT, ERROR)
        assert removal.discard(tx, store, OUTPUT)
