"""What a blob is to the rest of the database."""

from __future__ import annotations

from sqlalchemy import select

from storage import blob_index, blob_uses, computations
from storage.database import Database
from storage.tables import blobs
from tests.storage.scene import Scene


def refers(database: Database, digest: str) -> bool:
    with database.read() as tx:
        return blob_uses.refers(tx, digest)


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


def test_a_blob_is_forgotten(database: Database) -> None:
    with database.begin() as tx:
        blob_index.seen(tx, "a" * 64, 1)
        blob_index.seen(tx, "b" * 64, 1)
        blob_uses.forget(tx, "a" * 64)
        blob_uses.forget(tx, "never seen")
    with database.read() as tx:
        assert list(tx.execute(select(blobs.c.digest)).scalars()) == ["b" * 64]
