"""What is put is kept once, within bounds and as announced, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from burnish.errors import BlobCorrupt, TooLarge, Unavailable
from storage.blobs import Blob, BlobStore
from tests.storage.blobs.blob_places import LARGE, MIB, Place, child_of, pieces, read, sha256
from tests.storage.blobs.blob_writers import STREAM_PIECES


def test_the_same_bytes_put_again_give_the_same_blob_and_no_second_copy(place: Place) -> None:
    first = place.store.put([b"same"])
    assert place.store.put([b"sa", b"me"]) == first
    assert place.store.put([b"same"], expect=first.digest) == first
    assert place.names() == [first.digest]


def test_many_writers_of_the_same_bytes_leave_one_blob(place: Place) -> None:
    start = threading.Barrier(4)

    def put(_: int) -> Blob:
        start.wait()
        return place.store.put(pieces(17 * MIB))

    with ThreadPoolExecutor(4) as pool:
        blobs = set(pool.map(put, range(4)))
    assert len(blobs) == 1
    (blob,) = blobs
    assert place.names() == [blob.digest]
    assert sha256(read(place.store, blob.digest)) == blob.digest


@pytest.mark.parametrize("size", [5, LARGE])
def test_bytes_other_than_announced_are_refused_and_not_kept(place: Place, size: int) -> None:
    with pytest.raises(BlobCorrupt, match="announced 000"):
        place.store.put(pieces(size), expect="0" * 64)
    assert place.names() == []


def test_having_the_blob_does_not_excuse_sending_other_bytes(store: BlobStore) -> None:
    digest = store.put([b"mine"]).digest
    with pytest.raises(BlobCorrupt):
        store.put([b"yours"], expect=digest)
    assert read(store, digest) == b"mine"


@pytest.mark.parametrize("limit", [9, LARGE - 1])
def test_one_byte_over_the_limit_is_too_large_and_not_kept(place: Place, limit: int) -> None:
    with pytest.raises(TooLarge, match=f"{limit:,}"):
        place.store.put(pieces(limit + 1), limit=limit)
    assert place.names() == []
    assert place.store.put(pieces(9), limit=9).size == 9


@pytest.mark.parametrize("before", [1, 20 * MIB])
def test_a_source_that_fails_passes_its_error_on_and_leaves_nothing(place: Place, before: int) -> None:
    def failing() -> Iterator[bytes]:
        yield from pieces(before)
        raise ConnectionResetError("the client hung up")

    with pytest.raises(ConnectionResetError, match="hung up"):
        place.store.put(failing())
    assert place.names() == []


def test_a_file_that_cannot_be_read_is_told_and_nothing_is_kept(place: Place, tmp_path: Path) -> None:
    with pytest.raises((Unavailable, OSError)):
        place.store.put_file(tmp_path / "missing")
    assert place.names() == []


def test_put_file_stores_a_copy(store: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"".join(pieces(LARGE)))
    blob = store.put_file(path)
    path.write_bytes(b"changed later")
    assert blob.size == LARGE
    assert sha256(read(store, blob.digest)) == blob.digest


def test_memory_stays_bounded_by_the_part_size(place: Place) -> None:
    child = child_of(place, "stream")
    digest, size, grown = child.communicate()[0].split()
    assert int(size) == STREAM_PIECES * MIB
    assert place.store.size(digest) == STREAM_PIECES * MIB
    assert int(grown) < 100e6, f"{int(grown) / 1e6:.0f} MB for a stream of {STREAM_PIECES} MiB"
