"""What only the S3 store promises."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from burnish.errors import BlobCorrupt, Unavailable
from storage.blob_digest import Blob, file_chunks
from storage.blobs_s3 import S3Blobs
from storage.s3_upload import LANES, PART, in_parts
from tests.seaweed import Seaweed
from tests.storage.blobs.blob_writers import STALL_AFTER

ROOT = Path(__file__).parents[2]
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


def _file(path: Path, parts: int) -> Path:
    """A file whose parts differ."""
    path.write_bytes(b"".join(bytes([number]) * PART for number in range(parts)) + b"the rest")
    return path


def _killed_writer(server: Seaweed, url: str, path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.storage.blobs.blob_writers", "stall-file", url, path],
        cwd=ROOT, env={**os.environ, **server.environment, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "stalled\n"
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_file_goes_on_where_its_writer_was_killed(store: S3Blobs, server: Seaweed, tmp_path: Path) -> None:
    path = _file(tmp_path / "file", 8)
    _killed_writer(server, server.url(prefix=tmp_path.name), path)
    traffic = Traffic(store)
    blob = store.put_file(path)
    assert 9 - (STALL_AFTER + LANES) <= traffic.calls["UploadPart"] <= 9 - STALL_AFTER
    assert traffic.calls["CreateMultipartUpload"] == 0
    assert b"".join(store.open(blob.digest)) == path.read_bytes()
    assert _unfinished(store, tmp_path) == []


def test_parts_of_an_earlier_writer_are_taken_only_if_they_are_the_same_bytes(store: S3Blobs, tmp_path: Path) -> None:
    """Somebody announced the digest, and sent something else."""
    path = _file(tmp_path / "file", 2)
    key = store._key(hashlib.sha256(path.read_bytes()).hexdigest())
    upload = store._client.create_multipart_upload(Bucket="burnish", Key=key)["UploadId"]
    for number, data in ((1, b"x" * PART), (2, bytes([1]) * PART)):
        store._client.upload_part(Bucket="burnish", Key=key, UploadId=upload, PartNumber=number, Body=data)
    traffic = Traffic(store)
    blob = store.put_file(path)
    assert traffic.calls["UploadPart"] == 2  # the first and the last; the second was right
    assert b"".join(store.open(blob.digest)) == path.read_bytes()


def test_a_writer_whose_upload_another_one_ends_starts_over(store: S3Blobs, tmp_path: Path) -> None:
    path = _file(tmp_path / "file", 2)

    def abort() -> None:
        for found in store._client.list_multipart_uploads(Bucket="burnish", Prefix=tmp_path.name)["Uploads"]:
            store._client.abort_multipart_upload(Bucket="burnish", Key=found["Key"], UploadId=found["UploadId"])

    before_call(store, "UploadPart", abort)
    blob = store.put_file(path)
    assert b"".join(store.open(blob.digest)) == path.read_bytes()


def test_a_stream_whose_upload_another_one_completes_is_still_read_to_its_end(store: S3Blobs, tmp_path: Path) -> None:
    """A file of the same bytes takes up the parts of the stream, and is faster."""
    path = _file(tmp_path / "file", 6)
    blob = Blob(digest=hashlib.sha256(path.read_bytes()).hexdigest(), size=path.stat().st_size)
    read: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number, chunk in enumerate(file_chunks(path, step=PART)):
            if number == 4:
                assert store.put_file(path) == blob
            read.append(len(chunk))
            yield chunk

    assert store.put(chunks(), expect=blob.digest) == blob
    assert sum(read) == blob.size
    assert _unfinished(store, tmp_path) == []


def test_two_writers_of_one_file_share_an_upload_or_not_and_both_succeed(store: S3Blobs, tmp_path: Path) -> None:
    path = _file(tmp_path / "file", 3)
    with ThreadPoolExecutor(3) as pool:
        (blob,) = set(pool.map(store.put_file, [path] * 3))
    assert b"".join(store.open(blob.digest)) == path.read_bytes()


def test_a_file_that_changes_while_it_is_sent_is_not_published(store: S3Blobs, tmp_path: Path) -> None:
    path = _file(tmp_path / "file", 2)
    before_call(store, "CreateMultipartUpload", lambda: path.write_bytes(b"y" * (2 * PART + 8)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(BlobCorrupt):
        store.put_file(path)
    assert store.size(digest) is None


def test_a_blob_that_is_deleted_while_it_is_sent_again_is_unavailable(store: S3Blobs) -> None:
    blob = store.put([b"there"])

    def chunks() -> Iterator[bytes]:
        store.delete(blob.digest)
        yield b"there"

    with pytest.raises(Unavailable, match="Send"):
        store.put(chunks(), expect=blob.digest)


def test_a_large_blob_is_fetched_in_ranges(store: S3Blobs, tmp_path: Path) -> None:
    path = _file(tmp_path / "file", 2)
    digest = store.put_file(path).digest
    traffic = Traffic(store)
    assert store.fetch(digest, tmp_path / "cache").read_bytes() == path.read_bytes()
    assert traffic.calls["GetObject"] == 3


def test_a_link_gives_the_blob_and_ranges_of_it_without_credentials(store: S3Blobs) -> None:
    digest = store.put([b"0123456789"]).digest
    link = store.link(digest, name='a "b" \u00e9.onnx', seconds=60)
    whole = httpx.get(link)
    assert whole.content == b"0123456789"
    assert whole.headers["Content-Type"] == "application/octet-stream"
    assert whole.headers["Content-Disposition"] == "attachment; filename*=UTF-8''a%20%22b%22%20%C3%A9.onnx"
    assert httpx.get(link, headers={"Range": "bytes=2-4"}).content == b"234"


def test_the_time_of_a_link_cannot_be_changed(store: S3Blobs) -> None:
    digest = store.put([b"0123456789"]).digest
    link = store.link(digest, name="x", seconds=1)
    stale = link.replace("X-Amz-Expires=1", "X-Amz-Expires=86400")
    assert httpx.get(stale).status_code == 403


def test_links_name_the_address_that_others_reach_the_server_by(server: Seaweed) -> None:
    store = S3Blobs.at(server.url() + "&public=https://files.example.org:9000")
    link = store.link("0" * 64, name="x", seconds=60)
    assert link.startswith(f"https://files.example.org:9000/burnish/sha256/{'0' * 64}?")
    assert store.put([b"reached by the other"]).size == 20


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


def test_sweep_leaves_alone_what_others_upload_to_the_same_bucket(store: S3Blobs, tmp_path: Path) -> None:
    for key in (f"{tmp_path.name}/sha256/{'0' * 64}", f"{tmp_path.name}/incoming/x", f"{tmp_path.name}/backups/y"):
        store._client.create_multipart_upload(Bucket="burnish", Key=key)
    assert store.sweep(-60) == 2
    assert [found["Key"] for found in _unfinished(store, tmp_path)] == [f"{tmp_path.name}/backups/y"]


def test_sweep_goes_on_when_an_upload_ends_while_it_looks(store: S3Blobs, tmp_path: Path) -> None:
    for letter in "ab":
        store._client.create_multipart_upload(Bucket="burnish", Key=f"{tmp_path.name}/sha256/{letter * 64}")
    gone = [{"Error": {"Code": "NoSuchUpload", "Message": "It is over."}}]

    def answer(**_: object) -> tuple[SimpleNamespace, dict[str, Any]] | None:  # SeaweedFS takes such an abort for done
        return (SimpleNamespace(status_code=404), gone.pop()) if gone else None

    store._client.meta.events.register("before-call.s3.AbortMultipartUpload", answer)
    assert store.sweep(-60) == 1
    assert len(_unfinished(store, tmp_path)) == 1  # the one of which it was told that it is over


def test_parts_have_one_size_but_the_last() -> None:
    chunks = [b"a" * 3, b"", b"b" * 9, b"c"]
    assert list(in_parts(chunks, 4)) == [b"aaab", b"bbbb", b"bbbb", b"c"]
    assert list(in_parts([b"abcd"], 4)) == [b"abcd"]
    assert list(in_parts([], 4)) == []


def _unfinished(store: S3Blobs, folder: Path) -> list[Any]:
    return store._client.list_multipart_uploads(Bucket="burnish", Prefix=folder.name + "/").get("Uploads", [])


def _digest(size: int) -> str:
    return hashlib.sha256(bytes(size)).hexdigest()
