"""What only the S3 store promises."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import BlobCorrupt, Unavailable
from storage.blobs_s3 import S3Blobs
from storage.s3_upload import in_parts
from tests.seaweed import Seaweed

MIB = 1 << 20


@pytest.fixture
def server(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Seaweed:  # the fixture
    for name, value in seaweed.environment.items():
        monkeypatch.setenv(name, value)
    return seaweed


@pytest.fixture
def store(server: Seaweed, tmp_path: Path) -> S3Blobs:
    return S3Blobs.at(server.url(prefix=tmp_path.name))


class Traffic:
    """Counts the calls of a store, and the bytes of the bodies it got."""

    def __init__(self, store: S3Blobs) -> None:
        self.calls: Counter[str] = Counter()
        self.received = 0
        store._client.meta.events.register("after-call.s3", self._count)

    def _count(self, model: Any, parsed: dict[str, Any], **_: object) -> None:
        self.calls[model.name] += 1
        if model.name == "GetObject":
            self.received += parsed["ContentLength"]


def before_call(store: S3Blobs, operation: str, act: Callable[[], object]) -> None:
    """Runs `act` once, just before the first call of `operation` is sent."""
    pending = [act]

    def once(**_: object) -> None:
        if pending:
            pending.pop()()

    store._client.meta.events.register(f"before-call.s3.{operation}", once)


def test_a_reader_fetches_only_what_is_read(store: S3Blobs) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as writing:
        writing.writestr("weights", bytes(20 * MIB))
        writing.writestr("head.json", b"{}")
    digest = store.put([archive.getvalue()]).digest
    traffic = Traffic(store)
    with store.reader(digest) as file, zipfile.ZipFile(file) as reading:
        assert reading.read("head.json") == b"{}"
    assert traffic.received < 2 * MIB
    assert traffic.calls["GetObject"] <= 6


def test_a_blob_of_one_part_is_one_request(store: S3Blobs) -> None:
    traffic = Traffic(store)
    store.put([b"small"])
    assert traffic.calls == {"PutObject": 1}


def test_an_announced_blob_is_sent_straight_to_its_key(store: S3Blobs, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(33 * MIB))
    traffic = Traffic(store)
    store.put_file(path)
    assert traffic.calls["UploadPart"] == 3
    assert traffic.calls["UploadPartCopy"] == 0


def test_a_file_that_is_there_already_is_not_sent_again(store: S3Blobs, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(20 * MIB))
    blob = store.put_file(path)
    traffic = Traffic(store)
    assert store.put_file(path) == blob
    assert set(traffic.calls) == {"HeadObject"}


@pytest.mark.parametrize(
    ("size", "operation", "announced"),
    [
        (5, "PutObject", False),
        (17 * MIB, "CompleteMultipartUpload", True),
        (17 * MIB, "UploadPartCopy", False),
    ],
)
def test_the_later_of_two_writers_sees_the_blob_of_the_first(
    store: S3Blobs, server: Seaweed, tmp_path: Path, size: int, operation: str, announced: bool
) -> None:
    other = S3Blobs.at(server.url(prefix=tmp_path.name))
    first = []
    before_call(store, operation, lambda: first.append(other.put([bytes(size)])))
    blob = store.put([bytes(size)], expect=_digest(size) if announced else None)
    assert first == [blob]
    assert b"".join(store.open(blob.digest)) == bytes(size)
    assert store._client.list_multipart_uploads(Bucket="burnish", Prefix=tmp_path.name + "/").get("Uploads", []) == []


def test_a_blob_of_another_size_under_the_digest_is_told(store: S3Blobs) -> None:
    digest = store.put([b"sound"]).digest
    store._client.put_object(Bucket="burnish", Key=store._key(digest), Body=b"wrong and longer")
    with pytest.raises(BlobCorrupt, match="16 bytes in place of 5"):
        store.put([b"sound"])


def test_a_download_is_kept_in_the_folder(store: S3Blobs, tmp_path: Path) -> None:
    digest = store.put([b"kept"]).digest
    store.fetch(digest, tmp_path / "cache")
    traffic = Traffic(store)
    store.fetch(digest, tmp_path / "cache")
    assert traffic.calls == {}


def test_a_store_without_prefix_works(server: Seaweed) -> None:
    store = S3Blobs.at(server.url())
    digest = store.put([b"at the root"]).digest
    assert b"".join(store.open(digest)) == b"at the root"
    store.delete(digest)
    assert store.size(digest) is None


def test_a_server_that_is_not_there_is_unavailable(server: Seaweed) -> None:
    store = S3Blobs.at("s3://burnish?endpoint=http://127.0.0.1:9&region=us-east-1")
    with pytest.raises(Unavailable, match="failed at"):
        store.size("0" * 64)


def test_wrong_credentials_are_unavailable_and_name_the_variables(
    server: Seaweed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Unavailable, match="AWS_"):
        S3Blobs.at(server.url()).put([b"x"])


def test_a_missing_bucket_is_unavailable_and_no_missing_blob(server: Seaweed) -> None:
    url = server.url().replace("s3://burnish/", "s3://no-such-bucket/")
    with pytest.raises(Unavailable):
        S3Blobs.at(url).sweep(0)


def test_parts_have_one_size_but_the_last() -> None:
    chunks = [b"a" * 3, b"", b"b" * 9, b"c"]
    assert list(in_parts(chunks, 4)) == [b"aaab", b"bbbb", b"bbbb", b"c"]
    assert list(in_parts([b"abcd"], 4)) == [b"abcd"]
    assert list(in_parts([], 4)) == []


def _digest(size: int) -> str:
    return hashlib.sha256(bytes(size)).hexdigest()
