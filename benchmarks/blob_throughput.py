"""Throughput of the blob stores, as ratios to a plain file copy and to bare boto3, and the memory they take.

    python -m benchmarks.blob_throughput [MEGABYTES] [ROUNDS]

Each round does every contender once, ours and the other one next to each other (A B, then B A), on bytes that no store
has seen; a ratio is taken within its round. The plain copy ends with fsync, since a blob that `put_file` returned for
is on the disk too. Bare boto3 is `upload_file` and `download_file` with parts of our size and as many threads; it
checks no digest of the whole. A local fetch copies nothing, but hashes all: it can't be faster than `sha256`. A put
hashes while it copies, and can't either. What SHA-256 alone makes of the same copy is printed beside: that is the most
that a store can reach on this machine.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from boto3.s3.transfer import TransferConfig

from benchmarks.service import resident_bytes
from storage.blobs import BlobStore, open_store
from storage.s3_client import connect
from storage.s3_upload import LANES, PART
from tests.seaweed import Seaweed, running_seaweed

__all__ = ["main"]

_LIMIT = 0.8
_T95 = {4: 2.776, 6: 2.447, 8: 2.306, 10: 2.228, 14: 2.145}
"""Two-sided 95 % quantiles of Student's t, by degrees of freedom; 2.0 is near enough for more."""


class _Peak(threading.Thread):
    """The most resident memory of this process while the block runs, beyond what it had before."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._before = resident_bytes(os.getpid())
        self.grown = 0

    def run(self) -> None:
        while not self._ended.wait(0.01):
            self.grown = max(self.grown, resident_bytes(os.getpid()) - self._before)

    def __enter__(self) -> _Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def main() -> None:
    """Prints MB/s of each contender, the ratios with their 95 % intervals, and growth of memory."""
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else "256") * 1e6)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory(prefix="burnish-blobs-") as name:
        folder = Path(name)
        with running_seaweed(folder / "seaweed") as server:
            os.environ.update(server.environment)
            _compare(folder, server, size, rounds)


def _compare(folder: Path, server: Seaweed, size: int, rounds: int) -> None:
    local, s3 = open_store(f"file://{folder / 'blobs'}"), open_store(server.url("ours"))
    client, bucket, _ = connect(server.url("bare"))
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=LANES)
    seconds: dict[str, list[float]] = {}
    grown: dict[str, int] = {}
    for number in range(-1, rounds):  # the first one only warms up
        source = _fresh(folder / "source", size)
        digests: dict[str, str] = {}
        contenders: dict[str, Callable[[], object]] = {
            "copy": lambda: _durable_copy(source, folder / "copied"),  # noqa: B023  # called in its own round
            "local put": lambda: _put(local, source, digests, "local"),  # noqa: B023
            "sha256": lambda: hashlib.file_digest(source.open("rb"), "sha256"),  # noqa: B023
            "read": lambda: shutil.copyfile(source, folder / "read"),  # noqa: B023
            "local fetch": lambda: local.fetch(digests["local"], folder / "fetched"),  # noqa: B023
            "boto3 up": lambda: client.upload_file(str(source), bucket, "bare/file", Config=config),  # noqa: B023
            "s3 put": lambda: _put(s3, source, digests, "s3"),  # noqa: B023
            "boto3 down": lambda: client.download_file(bucket, "bare/file", str(folder / "down"), Config=config),
            "s3 fetch": lambda: s3.fetch(digests["s3"], folder / "fetched-s3"),  # noqa: B023
        }
        for name in _order(number):
            act = contenders[name]
            with _Peak() as peak:
                began = time.perf_counter()
                act()
                took = time.perf_counter() - began
            if number >= 0:
                seconds.setdefault(name, []).append(took)
                grown[name] = max(grown.get(name, 0), peak.grown)
        for store, kind in ((local, "local"), (s3, "s3")):
            store.delete(digests[kind])
        for left in ("copied", "read", "down"):
            (folder / left).unlink()
        for left in ("fetched", "fetched-s3"):
            shutil.rmtree(folder / left)
    _print(seconds, grown, size, rounds)


def _order(number: int) -> list[str]:
    """What is compared stands next to each other, in either order by turns; what is read was written before."""
    pairs = [["copy", "local put"], ["read", "local fetch"], ["boto3 up", "s3 put"], ["boto3 down", "s3 fetch"]]
    return ["sha256", *(name for pair in pairs for name in (pair if number % 2 else reversed(pair)))]


def _print(seconds: dict[str, list[float]], grown: dict[str, int], size: int, rounds: int) -> None:
    print(f"{size / 1e6:.0f} MB, {rounds} rounds, {os.cpu_count()} cores, S3 server seaweedfs on this machine")
    for name, times in seconds.items():
        print(f"  {name:12} {size / statistics.median(times) / 1e6:6.0f} MB/s, memory +{grown[name] / 1e6:.0f} MB")
    for ours, bare in (
        ("local put", "copy"),
        ("local fetch", "read"),
        ("s3 put", "boto3 up"),
        ("s3 fetch", "boto3 down"),
    ):
        ratio, low, high = _ratio(seconds[bare], seconds[ours])
        print(f"{ours} / {bare}: {ratio:.2f} [{low:.2f}, {high:.2f}] (limit {_LIMIT})")
    for ours, bare in (("sha256", "copy"), ("sha256", "read"), ("local put", "sha256"), ("local fetch", "sha256")):
        ratio, low, high = _ratio(seconds[bare], seconds[ours])
        print(f"{ours} / {bare}: {ratio:.2f} [{low:.2f}, {high:.2f}] (hashing alone)")
    print(f"memory: at most +{max(grown.values()) / 1e6:.0f} MB (parts of {PART >> 20} MiB, {LANES} under way)")


def _ratio(bare: list[float], ours: list[float]) -> tuple[float, float, float]:
    """Geometric mean of the rounds' ratios of speed, with its 95 % interval."""
    logs = [math.log(one / other) for one, other in zip(bare, ours, strict=True)]
    mean = statistics.fmean(logs)
    half = _T95.get(len(logs) - 1, 2.0) * statistics.stdev(logs) / math.sqrt(len(logs)) if len(logs) > 1 else math.inf
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def _fresh(path: Path, size: int) -> Path:
    """Random bytes, on the disk before anything is timed."""
    with path.open("wb") as file:
        for start in range(0, size, 1 << 20):
            file.write(os.urandom(min(1 << 20, size - start)))
        file.flush()
        os.fsync(file.fileno())
    return path


def _durable_copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _put(store: BlobStore, source: Path, digests: dict[str, str], kind: str) -> None:
    digests[kind] = store.put_file(source).digest


if __name__ == "__main__":
    main()
