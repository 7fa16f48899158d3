"""The contract of a blob store, over the local folder and over a real S3 server."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from burnish.errors import BadSetting, BlobCorrupt, NotFound, TooLarge, Unavailable
from storage.blobs import Blob, BlobStore, open_store
from tests.seaweed import Seaweed
from tests.storage.blob_writers import PIECE, STALL_PIECES, STREAM_PIECES

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
LARGE = 33 * MIB
"""Three parts in S3."""


@dataclass(frozen=True)
class Place:
    """Where a store under test keeps its things, and how to look behind it."""

    url: str
    store: BlobStore
    kind: str
    environment: dict[str, str] = field(default_factory=dict)

    def damage(self, digest: str, data: bytes) -> None:
        """Puts other bytes in the place of a blob, past the store."""
        if self.kind == "local":
            path = Path(self.url.removeprefix("file://")) / digest[:2] / digest
            path.chmod(0o644)
            path.write_bytes(data)
        else:
            self.client().put_object(Bucket="burnish", Key=f"{self.prefix}/sha256/{digest}", Body=data)

    def names(self) -> list[str]:
        """Every file or object of the store, uploads under way included."""
        if self.kind == "local":
            return [path.name for path in Path(self.url.removeprefix("file://")).rglob("*") if path.is_file()]
        objects = self.client().list_objects_v2(Bucket="burnish", Prefix=self.prefix + "/").get("Contents", [])
        uploads = self.client().list_multipart_uploads(Bucket="burnish", Prefix=self.prefix + "/").get("Uploads", [])
        return [found["Key"].rpartition("/")[2] for found in [*objects, *uploads]]

    def client(self):  # type: ignore[no-untyped-def]  # boto3's own type is known to type checkers only
        from storage.s3_client import connect

        return connect(self.url)[0]

    @property
    def prefix(self) -> str:
        return self.url.removeprefix("s3://burnish/").partition("?")[0]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param == "local":
        url = f"file://{tmp_path / 'blobs'}"
        return Place(url, open_store(url), "local")
    server: Seaweed = request.getfixturevalue("seaweed")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    url = server.url(prefix=tmp_path.name)
    return Place(url, open_store(url), "s3", server.environment)


@pytest.fixture
def store(place: Place) -> BlobStore:
    return place.store


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pieces(size: int, step: int = MIB) -> Iterator[bytes]:
    """Bytes that differ from place to place."""
    for start in range(0, size, step):
        yield (start.to_bytes(8, "big") * (step // 8))[: size - start]


def read(store: BlobStore, digest: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join(store.open(digest, start, end))


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


@pytest.mark.parametrize("writer", ["stall", "stall-announced"])
def test_a_writer_killed_in_the_middle_leaves_nothing_visible_and_sweep_clears_the_rest(
    place: Place, writer: str
) -> None:
    child = _child(place, writer)
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


def test_a_file_that_cannot_be_read_is_told_and_nothing_is_kept(place: Place, tmp_path: Path) -> None:
    with pytest.raises((Unavailable, OSError)):
        place.store.put_file(tmp_path / "missing")
    assert place.names() == []


def test_sweep_spares_published_blobs(store: BlobStore) -> None:
    digest = store.put([b"kept"]).digest
    assert store.sweep(-60) == 0
    assert read(store, digest) == b"kept"


def test_memory_stays_bounded_by_the_part_size(place: Place) -> None:
    child = _child(place, "stream")
    digest, size, grown = child.communicate()[0].split()
    assert int(size) == STREAM_PIECES * MIB
    assert place.store.size(digest) == STREAM_PIECES * MIB
    assert int(grown) < 100e6, f"{int(grown) / 1e6:.0f} MB for a stream of {STREAM_PIECES} MiB"


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


def test_put_file_stores_a_copy(store: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"".join(pieces(LARGE)))
    blob = store.put_file(path)
    path.write_bytes(b"changed later")
    assert blob.size == LARGE
    assert sha256(read(store, blob.digest)) == blob.digest


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


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/just/a/path",
        "http://bucket",
        "file://host/path",
        "file:relative",
        "s3:///prefix",
        "s3://bucket?color=red",
        "s3://bucket?endpoint=not-a-url",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_by_name(url: str) -> None:
    with pytest.raises(BadSetting) as caught:
        open_store(url)
    assert caught.value.where == "BURNISH_BLOBS_URL"


def _child(place: Place, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.blob_writers", what, place.url],
        cwd=ROOT,
        env={**os.environ, **place.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
