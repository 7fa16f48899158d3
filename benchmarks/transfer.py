"""Memory of the API while a 2 GB file goes up and comes down.

python -m benchmarks.transfer [GIGABYTES]
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx

from benchmarks.service import process_tree, resident_bytes, service

__all__ = ["main"]


class _Watch(threading.Thread):
    """Samples the resident memory of the API's processes every 20 ms."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(daemon=True)
        self.pids, self.peak, self.going = pids, 0, True

    def run(self) -> None:
        while self.going:
            self.peak = max(self.peak, sum(map(resident_bytes, self.pids)))
            time.sleep(0.02)


def main() -> None:
    """Prints throughput and growth of resident memory, each way."""
    size = int(float(sys.argv[1] if len(sys.argv) > 1 else "2") * 1e9)
    with tempfile.TemporaryDirectory() as folder, service() as (client, data):
        path = _dataset(Path(folder) / "big.safetensors", size)
        root = json.loads((data / "run.json").read_text())["pid"]
        pids = [pid for pid in process_tree(root) if b"\0api\0" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        client.datasets()  # so that everything the first request loads is loaded
        before = sum(map(resident_bytes, pids))
        watch = _Watch(pids)
        watch.start()
        began = time.perf_counter()
        uploaded = client.upload_dataset(path)
        up = time.perf_counter() - began
        peak_up = watch.peak
        began, digest = time.perf_counter(), hashlib.sha256()
        with httpx.stream("GET", f"{client.url}/v1/artifacts/{uploaded.digest}") as response:
            for chunk in response.iter_bytes(1 << 20):
                digest.update(chunk)
        down = time.perf_counter() - began
        watch.going = False
        assert digest.hexdigest() == uploaded.digest
        for name, seconds, peak in (("upload", up, peak_up), ("download", down, watch.peak)):
            print(f"{name} of {size / 1e9:.1f} GB: {size / seconds / 1e6:.0f} MB/s, ", end="")
            print(f"memory of the API +{(peak - before) / 1e6:.0f} MB (limit 100 MB)")


def _dataset(path: Path, size: int) -> Path:
    """A sound safetensors file of about this size; its zeros take no room on disk."""
    samples = size // 4096
    header = json.dumps({"inputs": {"dtype": "F32", "shape": [samples, 1024], "data_offsets": [0, samples * 4096]}})
    padded = header.encode() + b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(padded)) + padded)
        file.truncate(8 + len(padded) + samples * 4096)
    return path


if __name__ == "__main__":
    main()
