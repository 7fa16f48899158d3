"""What only the local store promises."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from burnish.errors import Unavailable
from storage.blobs import Blob, open_store

ROOT = Path(__file__).parents[2]

FILL = """
import sys
from burnish.errors import DiskFull
from storage.blobs import Blob, open_store
store = open_store(sys.argv[1])
small = store.put([b"small"])
try:
    store.put(b"\\x5a" * (1 << 16) for _ in range(64))
except DiskFull as error:
    print("DiskFull", type(error.__cause__).__name__, error.__cause__.errno)
assert b"".join(store.open(small.digest)) == b"small"
"""


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_full_disk_is_told_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    """On a file system of 2 MiB, in a mount namespace of its own so that nothing stays mounted."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces to mount a small file system; the file size limit below covers the rest")
    script = (
        f"mount -t tmpfs -o size=2m none {tmp_path} && {sys.executable} -c '{FILL}' file://{tmp_path}/blobs"
        f" && find {tmp_path} -type f | wc -l"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script], cwd=ROOT, env=_environment(), capture_output=True, text=True
    )
    assert done.stdout.split() == ["DiskFull", "OSError", "28", "1"], done.stderr


def test_a_file_size_limit_counts_as_a_full_disk(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))" + FILL
    done = subprocess.run(
        [sys.executable, "-c", limited, f"file://{tmp_path}/blobs"],
        cwd=ROOT,
        env=_environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["DiskFull", "OSError", "27"], done.stderr
    assert len(files(tmp_path)) == 1


def test_blobs_are_read_only_and_fanned_out(tmp_path: Path) -> None:
    digest = open_store(f"file://{tmp_path}").put([b"x"]).digest
    path = tmp_path / digest[:2] / digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert files(tmp_path) == [path]


def test_fetch_links_in_place_of_copying(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path / 'blobs'}")
    digest = store.put([b"x"]).digest
    fetched = store.fetch(digest, tmp_path / "step")
    assert fetched.samefile(tmp_path / "blobs" / digest[:2] / digest)


def test_fetch_onto_another_file_system_gives_the_stores_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"file://{tmp_path / 'blobs'}")
    digest = store.put([b"x"]).digest

    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert store.fetch(digest, tmp_path / "step") == tmp_path / "blobs" / digest[:2] / digest
    assert files(tmp_path / "step") == []


def test_putting_a_damaged_blob_again_mends_it(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    digest = store.put([b"sound"]).digest
    path = tmp_path / digest[:2] / digest
    path.chmod(0o644)
    path.write_bytes(b"wrong")
    store.put([b"sound"])
    assert b"".join(store.open(digest)) == b"sound"


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable, match="blobs"):
        open_store(f"file://{tmp_path / 'file' / 'blobs'}")


def test_a_path_with_spaces_is_written_percent_encoded(tmp_path: Path) -> None:
    open_store(f"file://{tmp_path}/my%20blobs").put([b"x"])
    assert (tmp_path / "my blobs").is_dir()


def test_fetch_into_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path / 'blobs'}")
    digest = store.put([b"x"]).digest
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Unavailable):
        store.fetch(digest, tmp_path / "file")


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_writer_whose_folder_goes_away_meanwhile_makes_nothing_in_its_place(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    store = open_store(f"file://{root}")

    def unmounted(_: Blob) -> None:
        root.rename(tmp_path / "elsewhere")
        root.mkdir()

    with pytest.raises(Unavailable):
        store.put([b"bytes"], before=unmounted)
    assert list(root.iterdir()) == []
