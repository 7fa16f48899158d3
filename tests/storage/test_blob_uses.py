"""What a blob is to the rest of the database."""

from __future__ import annotations

from storage import blob_uses, computations
from storage.database import Database
from tests.storage.scene import Scene


def refers(database: Database, digest: str) -> bool:
    with database.read() as tx:
        return blob_uses.refers(tx, digest)


def taken_in(database: Database, digest: str) -> bool:
    with database.read() as tx:
        return blob_uses.taken_in(tx, [digest])


def test_uploads_are_referred_to(scene: Scene) -> None:
    scene.model(digest="c" * 64)
    scene.dataset(digest="d" * 64)
    assert refers(scene.database, "c" * 64)
    assert refers(scene.database, "d" * 64)
    assert not refers(scene.database, "e" * 64)


def test_outputs_of_computations_are_referred_to_and_their_inputs_are_not(scene: Scene) -> None:
    job_id = scene.running()
    scene.bind(job_id, "capture", key="k")
    claim = scene.claim("k")
    assert claim is not None
    with scene.database.begin() as tx:
        outputs = {"program": "1" * 64, "log": "2" * 64}
        computations.commit(tx, "k", claim.attempt, outputs=outputs, report={"of": "3" * 64}, seconds=1, peak_memory=1)
    assert refers(scene.database, "1" * 64)
    assert refers(scene.database, "2" * 64)
    assert not refers(scene.database, "3" * 64)
    assert not refers(scene.database, "1" * 63)
    assert not refers(scene.database, "%")


def test_what_was_evicted_or_lost_is_an_output_no_more(scene: Scene) -> None:
    for key in ("k", "l"):
        scene.leased(key)
    with scene.database.begin() as tx:
        for key, digest in (("k", "1" * 64), ("l", "2" * 64)):
            computations.commit(tx, key, 1, outputs={"out": digest}, report={}, seconds=1, peak_memory=1)
    with scene.database.begin() as tx:
        computations.evict(tx, "k")
        computations.disown(tx, "2" * 64, {"code": "internal.blob"})
    assert not refers(scene.database, "1" * 64)
    assert not refers(scene.database, "2" * 64)


def test_what_a_computation_is_to_read_is_in_use_until_it_ends(scene: Scene) -> None:
    _, attempt = scene.leased()
    assert taken_in(scene.database, "0" * 64)
    assert not taken_in(scene.database, "1" * 64)
    scene.commit(attempt)
    assert not taken_in(scene.database, "0" * 64)
