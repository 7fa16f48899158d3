"""Child programs for `test_blobs.py`: `python -m tests.storage.blob_writers NAME URL`, with the store's variables set.

`stall` puts part of a blob, says so on standard output, and waits to be killed; `stream` puts 200 MB that never exist
as a whole and prints digest, size, and by how many bytes the peak of resident memory rose.
"""

from __future__ import annotations

import hashlib
import resource
import signal
import sys
from collections.abc import Iterator

from storage.blobs import BlobStore, open_store

PIECE = b"\x5a" * (1 << 20)
STALL_PIECES = 40
STREAM_PIECES = 200


def _stalling() -> Iterator[bytes]:
    for _ in range(STALL_PIECES):
        yield PIECE
    print("stalled", flush=True)
    signal.pause()


def _stall(store: BlobStore, announced: bool) -> None:
    store.put(_stalling(), expect=hashlib.sha256(PIECE * STALL_PIECES).hexdigest() if announced else None)


def _stream(store: BlobStore) -> None:
    store.put([PIECE])  # what libraries load lazily is not the blob's cost
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    blob = store.put(number.to_bytes(4, "big") + PIECE[4:] for number in range(STREAM_PIECES))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(blob.digest, blob.size, grown, flush=True)


if __name__ == "__main__":
    what, url = sys.argv[1:]
    if what == "stream":
        _stream(open_store(url))
    else:
        _stall(open_store(url), announced=what == "stall-announced")
