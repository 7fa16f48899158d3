"""Blobs that are gone, deleted or damaged, stores that are away, and rests of killed writers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import BlobCorrupt, NotFound, Unavailable
from storage.blobs import BlobStore, open_store
from tests.storage.blobs.blob_places import Place, child_of, read, sha256
from tests.storage.blobs.blob_writers import PIECE, STALL_PIECES


@pytest.mark.parametrize("digest", ["0" * 64, "../../etc/passwd", "", "A" * 64, "0" * 63])
def test_what_is_not_there_is_not_found_by_the_call_itself(store: BlobStore, tmp_path: Path, digest: str) -> None:
    assert store.size(digest) is None
    for ask in (store.open, store.reader, lambda digest: store.fetch(digest, tmp_path)):
        with pytest.raises(NotFound):
            ask(digest)
    store.delete(digest)


def test_a_store_that_is_away_is_not_taken_for_one_without_the_blob(place: Place, tmp_path: Path) -> None:
    """What is not there is made again, or its job fails (`storage/recovery.py`); what is away is waited for."""
    digest = place.store.put([b"kept"]).digest
    store, come_back = _away(place)
    ways: list[Callable[[str], object]] = [store.open, store.reader, lambda digest: store.fetch(digest, tmp_path)]
    if place.kind == "local":  # S3 says of a missing bucket what it says of a missing object, or makes one
        ways += [store.size, store.delete, lambda digest: store.put([digest.encode()])]
    for ask in ways:
        with pytest.raises(Unavailable):
            ask(digest)
    come_back()
    assert read(place.store, digest) == b"kept"


def _away(place: Place) -> tuple[BlobStore, Callable[[], object]]:
    """A store whose file system is not mounted, or whose bucket is not there; and how it comes back."""
    if place.kind == "s3":
        return open_store(place.url.replace("s3://burnish/", "s3://elsewhere/")), lambda: None
    root = Path(place.url.removeprefix("file://"))
    root.rename(root.with_name("elsewhere"))
    root.mkdir()

    def come_back() -> None:
        root.rmdir()
        root.with_name("elsewhere").rename(root)

    return place.store, come_back


def test_a_deleted_blob_is_gone_and_may_come_again(store: BlobStore) -> None:
    digest = store.put([b"gone"]).digest
    store.delete(digest)
    assert store.size(digest) is None
    assert store.put([b"gone"]).digest == digest
    assert store.size(digest) == 4


def test_a_damaged_blob_is_told_after_its_last_byte(place: Place, tmp_path: Path) -> None:
    digest = place.store.put([b"sound bytes"]).digest
    place.damage(digest, b"other bytes")
    with pytest.raises(BlobCorrupt, match=digest):
        read(place.store, digest)
    with pytest.raises(BlobCorrupt, match=digest):
        place.store.fetch(digest, tmp_path / "fetched")
    assert not any((tmp_path / "fetched").glob("*"))


def test_a_truncated_blob_is_damaged(place: Place) -> None:
    digest = place.store.put([b"sound bytes"]).digest
    place.damage(digest, b"sound")
    with pytest.raises(BlobCorrupt):
        read(place.store, digest)


def test_a_damaged_blob_can_be_deleted_and_put_again(place: Place) -> None:
    digest = place.store.put([b"sound bytes"]).digest
    place.damage(digest, b"oops")
    place.store.delete(digest)
    place.store.put([b"sound bytes"])
    assert read(place.store, digest) == b"sound bytes"


@pytest.mark.parametrize("writer", ["stall", "stall-announced"])
def test_a_writer_killed_in_the_middle_leaves_nothing_visible_and_sweep_clears_the_rest(
    place: Place, writer: str
) -> None:
    child = child_of(place, writer)
    assert child.stdout is not None
    assert child.stdout.readline() == "stalled\n"
    child.kill()
    child.wait()
    child.stdout.close()
    digest = sha256(PIECE * STALL_PIECES)
    assert place.store.size(digest) is None
    assert len(place.names()) == 1, "the half-written rest is what this test is about"
    assert place.store.sweep(3600) == 0, "a young rest may have a living writer"
    assert place.store.sweep(-60) == 1
    assert place.names() == []


def test_sweep_spares_published_blobs(store: BlobStore) -> None:
    digest = store.put([b"kept"]).digest
    assert store.sweep(-60) == 0
    assert read(store, digest) == b"kept"
