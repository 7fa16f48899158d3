"""Uploads in parts: what has arrived stays, and what is given up goes."""

from __future__ import annotations

import pytest

from burnish.errors import NotFound, Unavailable
from storage import blob_index, removal, uploads
from storage.blobs import Blob
from storage.blobs_local import LocalBlobs
from storage.collector import Collector
from storage.database import Database
from storage.uploads import KEEP, MOST_PARTS, PART, Upload
from tests.storage.scene import Clock, Scene


def begun(database: Database, size: int = 3 * PART) -> Upload:
    with database.begin() as tx:
        return uploads.create(tx, kind="model", name="net", size=size, sha256=None)


def sent(database: Database, store: LocalBlobs, upload: Upload, number: int, data: bytes) -> str:
    """Digest of a part that was put and noted."""
    blob = store.put([data])
    with database.begin() as tx:
        held = blob_index.hold(tx, blob)
    with database.begin() as tx:
        return uploads.add_part(tx, uploads.lock(tx, upload.id), number, held).digest


def collected(database: Database, store: LocalBlobs) -> int:
    return Collector(database, store, keep=KEEP, size=0).once().removed


def test_every_byte_belongs_to_one_part(database: Database) -> None:
    upload = begun(database, size=2 * PART + 5)
    assert [upload.part_bytes(number) for number in (1, 2, 3)] == [PART, PART, 5]
    for number in (0, 4):
        with pytest.raises(NotFound, match="parts 1 to 3"):
            upload.part_bytes(number)


def test_an_empty_file_has_one_empty_part(database: Database) -> None:
    assert begun(database, size=0).part_bytes(1) == 0


def test_a_huge_file_has_larger_parts_and_not_more_of_them(database: Database) -> None:
    upload = begun(database, size=10**12)
    assert upload.count <= MOST_PARTS
    assert sum(upload.part_bytes(number) for number in range(1, upload.count + 1)) == 10**12


def test_parts_are_told_by_number_in_whatever_order_they_came(database: Database, store: LocalBlobs) -> None:
    upload = begun(database)
    second, first = sent(database, store, upload, 2, b"two"), sent(database, store, upload, 1, b"one")
    with database.read() as tx:
        assert [(part.number, part.digest) for part in uploads.parts(tx, upload.id)] == [(1, first), (2, second)]


def test_the_same_part_again_is_one_part(database: Database, store: LocalBlobs) -> None:
    upload = begun(database)
    assert sent(database, store, upload, 1, b"one") == sent(database, store, upload, 1, b"one")
    with database.read() as tx:
        assert len(uploads.parts(tx, upload.id)) == 1
    assert collected(database, store) == 0


def test_a_part_that_is_sent_anew_takes_the_place_of_the_old_bytes(database: Database, store: LocalBlobs) -> None:
    upload = begun(database)
    old, new = sent(database, store, upload, 1, b"old"), sent(database, store, upload, 1, b"new")
    assert collected(database, store) == 1
    assert (store.size(old), store.size(new)) == (None, 3)


def test_parts_outlast_any_age_of_collection_while_others_arrive(
    database: Database, store: LocalBlobs, clock: Clock
) -> None:
    upload = begun(database)
    first = sent(database, store, upload, 1, b"one")
    clock.pass_(KEEP - 1)
    sent(database, store, upload, 2, b"two")
    clock.pass_(KEEP - 1)
    assert collected(database, store) == 0
    assert store.size(first) == 3


def test_parts_outlast_an_upload_that_is_renewed_every_minute(
    database: Database, store: LocalBlobs, clock: Clock
) -> None:
    upload = begun(database)
    first = sent(database, store, upload, 1, b"one")
    for _ in range(40):
        clock.pass_(KEEP / 24 + 60)
        sent(database, store, upload, 2, b"two")
    assert collected(database, store) == 0
    assert store.size(first) == 3
    clock.pass_(KEEP - 1)
    with database.read() as tx:
        assert len(uploads.parts(tx, uploads.get(tx, upload.id).id)) == 2
    assert collected(database, store) == 0


def test_a_part_whose_bytes_were_removed_before_it_was_noted_is_refused(
    database: Database, store: LocalBlobs, clock: Clock
) -> None:
    upload, blob = begun(database), store.put([b"one"])
    with database.begin() as tx:
        held = blob_index.hold(tx, blob, seconds=10)
    clock.pass_(11)
    with database.begin() as tx:
        assert removal.remove(tx, store, blob.digest, before=clock.now) == 3
    with database.begin() as tx, pytest.raises(Unavailable, match="removed"):
        uploads.add_part(tx, uploads.lock(tx, upload.id), 1, held)


def test_completed_it_remembers_the_resource_and_lets_its_parts_go(database: Database, store: LocalBlobs) -> None:
    upload = begun(database)
    sent(database, store, upload, 1, b"one")
    with database.begin() as tx:
        uploads.complete(tx, upload.id, "mdl_1")
    with database.read() as tx:
        assert uploads.get(tx, upload.id).resource_id == "mdl_1"
        assert uploads.parts(tx, upload.id) == []
    assert collected(database, store) == 1


def test_a_part_that_is_the_whole_model_stays_with_the_model(scene: Scene, store: LocalBlobs) -> None:
    upload = begun(scene.database, size=3)
    digest = sent(scene.database, store, upload, 1, b"one")
    model = scene.model(digest=digest)
    with scene.database.begin() as tx:
        uploads.complete(tx, upload.id, model.id)
    assert collected(scene.database, store) == 0


def test_a_part_that_another_upload_has_too_stays(database: Database, store: LocalBlobs) -> None:
    one, other = begun(database), begun(database)
    digest = sent(database, store, one, 1, b"same")
    sent(database, store, other, 1, b"same")
    with database.begin() as tx:
        uploads.drop(tx, one.id)
    assert collected(database, store) == 0
    assert store.size(digest) == 4


def test_an_upload_that_stands_still_expires_with_its_parts(
    database: Database, store: LocalBlobs, clock: Clock
) -> None:
    upload = begun(database)
    sent(database, store, upload, 1, b"one")
    clock.pass_(KEEP)
    with database.read() as tx, pytest.raises(NotFound, match="no upload"):
        uploads.get(tx, upload.id)
    with database.begin() as tx:
        assert uploads.expire(tx) == 1
        assert uploads.expire(tx) == 0
    assert collected(database, store) == 1


def test_dropping_what_is_not_there_is_no_error(database: Database) -> None:
    with database.begin() as tx:
        uploads.drop(tx, "upl_none")


def test_a_blob_is_noted_with_its_size(database: Database, store: LocalBlobs) -> None:
    upload = begun(database)
    sent(database, store, upload, 1, b"four")
    with database.read() as tx:
        (part,) = uploads.parts(tx, upload.id)
    assert Blob(digest=part.digest, size=part.size) == store.put([b"four"])
