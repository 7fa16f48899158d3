"""Files sent straight to a real S3 server: links take one part of one length, and a name is its bytes' digest."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import httpx
import pytest

from burnish.errors import BlobCorrupt
from storage.blobs import Direct, DirectFile
from storage.blobs_s3 import S3Blobs
from tests.seaweed import Seaweed

MIB = 1 << 20
SIZES = {1: 5 * MIB, 2: 5 * MIB, 3: 1234}
"""S3 wants 5 MiB of every part but the last."""


@pytest.fixture
def store(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3Blobs:
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    return S3Blobs.at(seaweed.url(prefix=tmp_path.name))


@pytest.fixture
def file(store: S3Blobs) -> DirectFile:
    return store.direct("upl_1")


@pytest.fixture(scope="module")
def parts() -> dict[int, bytes]:
    return {number: os.urandom(size) for number, size in SIZES.items()}


def send(file: DirectFile, parts: dict[int, bytes]) -> None:
    links = file.links({number: len(data) for number, data in parts.items()}, 60)
    for number, data in parts.items():
        httpx.put(links[number], content=data).raise_for_status()


def test_it_is_a_store_that_can_be_written_to_directly(store: S3Blobs, seaweed: Seaweed) -> None:
    assert isinstance(store, Direct)
    assert store.direct_origin() == seaweed.endpoint


def test_parts_sent_by_links_become_the_blob_of_their_digest(
    store: S3Blobs, file: DirectFile, parts: dict[int, bytes]
) -> None:
    assert file.missing(SIZES) == [1, 2, 3]
    send(file, {2: parts[2], 3: parts[3]})
    assert store.direct("upl_1").missing(SIZES) == [1]
    send(file, {1: parts[1]})
    assert file.missing(SIZES) == []
    whole = b"".join(parts.values())
    told: list[str] = []
    blob = file.publish(len(whole), expect=None, before=lambda blob: told.append(blob.digest))
    assert blob.digest == hashlib.sha256(whole).hexdigest() == told[0]
    assert b"".join(store.open(blob.digest)) == whole
    assert store.sweep(-60) == 0


def test_bytes_of_another_digest_are_never_published_and_nothing_is_left(
    store: S3Blobs, file: DirectFile, parts: dict[int, bytes]
) -> None:
    send(file, parts)
    with pytest.raises(BlobCorrupt):
        file.publish(sum(SIZES.values()), expect="0" * 64)
    assert file.missing(SIZES) == [1, 2, 3]
    assert store.size("0" * 64) is None
    assert store.sweep(-60) == 0


def test_a_link_takes_no_other_length(file: DirectFile, parts: dict[int, bytes]) -> None:
    links = file.links(SIZES, 60)
    for data in (parts[3] + b"x", parts[3][:-1]):
        assert httpx.put(links[3], content=data).status_code == 403
    assert file.missing(SIZES) == [1, 2, 3]


def test_a_link_that_has_expired_is_refused(file: DirectFile, parts: dict[int, bytes]) -> None:
    link = file.links({3: SIZES[3]}, 60)[3].replace("X-Amz-Expires=60", "X-Amz-Expires=0")
    assert httpx.put(link, content=parts[3]).status_code in (400, 403)
    assert file.missing(SIZES) == [1, 2, 3]


def test_put_together_already_it_is_published_by_the_next_call(
    store: S3Blobs, file: DirectFile, parts: dict[int, bytes]
) -> None:
    def killed(_: object) -> None:
        raise KeyboardInterrupt

    send(file, parts)
    whole = b"".join(parts.values())
    with pytest.raises(KeyboardInterrupt):
        file.publish(len(whole), before=killed)
    assert file.missing(SIZES) == []
    assert file.publish(len(whole)).digest == hashlib.sha256(whole).hexdigest()


def test_links_of_before_change_nothing_once_it_is_put_together(
    store: S3Blobs, file: DirectFile, parts: dict[int, bytes]
) -> None:
    links = file.links(SIZES, 60)
    send(file, parts)
    whole = b"".join(parts.values())

    def meanwhile(_: object) -> None:
        assert httpx.put(links[1], content=bytes(SIZES[1])).status_code == 404

    blob = file.publish(len(whole), before=meanwhile)
    assert b"".join(store.open(blob.digest)) == whole


def test_given_up_nothing_is_left(store: S3Blobs, file: DirectFile, parts: dict[int, bytes]) -> None:
    send(file, {3: parts[3]})
    file.drop()
    assert file.missing(SIZES) == [1, 2, 3]
    assert store.sweep(-60) == 0
    file.drop()


def test_what_nobody_completed_is_swept_by_age(store: S3Blobs, file: DirectFile, parts: dict[int, bytes]) -> None:
    send(file, {3: parts[3]})
    assert store.sweep(3600) == 0
    assert store.sweep(-60) == 1
    assert file.missing(SIZES) == [1, 2, 3]
