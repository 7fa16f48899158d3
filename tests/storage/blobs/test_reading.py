"""What was put is read back: whole, in ranges, as files and by readers."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest

from storage.blobs import Blob, BlobStore
from tests.storage.blobs.blob_places import LARGE, MIB, Place, pieces, read, sha256


def test_what_was_put_is_read_back_under_its_sha256(store: BlobStore) -> None:
    blob = store.put([b"hello ", b"", b"world"])
    assert blob == Blob(digest=sha256(b"hello world"), size=11)
    assert read(store, blob.digest) == b"hello world"
    assert store.size(blob.digest) == 11


def test_an_empty_blob_is_a_blob(store: BlobStore) -> None:
    blob = store.put([])
    assert blob == Blob(digest=sha256(b""), size=0)
    assert read(store, blob.digest) == b""
    with store.reader(blob.digest) as file:
        assert file.read() == b""


@pytest.mark.parametrize("announced", [False, True])
def test_a_blob_of_several_parts_is_read_back_whole(place: Place, announced: bool) -> None:
    whole = b"".join(pieces(LARGE))
    blob = place.store.put(pieces(LARGE), expect=sha256(whole) if announced else None)
    assert blob == Blob(digest=sha256(whole), size=LARGE)
    assert read(place.store, blob.digest) == whole
    assert place.names() == [blob.digest]


def test_a_range_is_cut_to_the_blob(store: BlobStore) -> None:
    digest = store.put([b"0123456789"]).digest
    assert read(store, digest, 2, 5) == b"234"
    assert read(store, digest, 7) == b"789"
    assert read(store, digest, 7, 99) == b"789"
    assert read(store, digest, 5, 5) == b""
    assert read(store, digest, 99) == b""


def test_a_range_may_span_parts(store: BlobStore) -> None:
    digest = store.put(pieces(LARGE)).digest
    assert read(store, digest, 16 * MIB - 3, 16 * MIB + 9) == b"".join(pieces(LARGE))[16 * MIB - 3 : 16 * MIB + 9]


def test_a_fetched_file_is_whole_read_only_and_used_again(store: BlobStore, tmp_path: Path) -> None:
    digest = store.put([b"to be fetched"]).digest
    path = store.fetch(digest, tmp_path / "inputs")
    assert path == tmp_path / "inputs" / digest
    assert path.read_bytes() == b"to be fetched"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    inode = path.stat().st_ino
    assert store.fetch(digest, tmp_path / "inputs").stat().st_ino == inode
    assert os.listdir(tmp_path / "inputs") == [digest]


def test_a_fetched_file_that_was_changed_is_fetched_anew(place: Place, tmp_path: Path) -> None:
    digest = place.store.put([b"to be fetched"]).digest
    (tmp_path / digest).write_bytes(b"something else")
    assert place.store.fetch(digest, tmp_path).read_bytes() == b"to be fetched"


def test_a_reader_opens_an_archive(store: BlobStore) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr("head.json", b'{"version": 1}')
        writing.writestr("weights", b"".join(pieces(3 * MIB)))
    digest = store.put([archive.getvalue()]).digest
    with store.reader(digest) as file, zipfile.ZipFile(file) as reading:
        assert reading.namelist() == ["head.json", "weights"]
        assert reading.read("head.json") == b'{"version": 1}'
        assert reading.testzip() is None


def test_a_reader_seeks_like_a_file(store: BlobStore) -> None:
    digest = store.put([b"0123456789"]).digest
    with store.reader(digest) as file:
        assert file.seek(-3, os.SEEK_END) == 7
        assert file.read() == b"789"
        assert file.read() == b""
        assert file.seek(2) == 2
        assert file.read(2) == b"23"
        assert file.seek(1, os.SEEK_CUR) == 5
        assert file.tell() == 5
        assert not file.writable()
