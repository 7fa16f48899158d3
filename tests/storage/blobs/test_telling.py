"""Whoever puts a blob is told of it before anybody can see it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from burnish.errors import Unavailable
from storage.blobs import Blob, BlobStore
from tests.storage.blobs.blob_places import LARGE, MIB, Place, pieces, sha256


def _into(seen: list[Blob], store: BlobStore) -> Callable[[Blob], None]:
    """Notes each blob, and that it was not there yet."""

    def before(blob: Blob) -> None:
        assert store.size(blob.digest) is None
        seen.append(blob)

    return before


@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize("how", ["put", "announced", "file"])
def test_a_blob_is_told_before_it_is_published(place: Place, tmp_path: Path, size: int, how: str) -> None:
    seen: list[Blob] = []
    whole = b"".join(pieces(size))
    before = _into(seen, place.store)
    if how == "file":
        (tmp_path / "file").write_bytes(whole)
        blob = place.store.put_file(tmp_path / "file", before=before)
    else:
        blob = place.store.put(pieces(size), expect=sha256(whole) if how == "announced" else None, before=before)
    assert set(seen) == {blob}


@pytest.mark.parametrize("how", ["put", "announced", "file"])
def test_a_blob_that_is_there_already_is_told_too(store: BlobStore, tmp_path: Path, how: str) -> None:
    blob = store.put([b"there"])
    seen: list[Blob] = []
    if how == "file":
        (tmp_path / "file").write_bytes(b"there")
        store.put_file(tmp_path / "file", before=seen.append)
    else:
        store.put([b"there"], expect=blob.digest if how == "announced" else None, before=seen.append)
    assert set(seen) == {blob}


@pytest.mark.parametrize("size", [5, 17 * MIB])
def test_if_it_cannot_be_told_nothing_is_published(place: Place, size: int) -> None:
    def refuse(_: Blob) -> None:
        raise Unavailable("SQL is away.", cure="Wait.")

    with pytest.raises(Unavailable):
        place.store.put(pieces(size), before=refuse)
    assert place.names() == []
