"""Child programs: `python -m tests.storage.blobs.blob_writers NAME URL`, with the variables of the store set.

`stall` puts part of a blob, says so on standard output, and waits to be killed; `stream` puts 200 MB that never exist
as a whole and prints digest, size, and by how many bytes the peak of resident memory rose. `stall-file` (S3) sends the
first parts of the file named third, says so, and waits to be killed.
"""

from __future__ import annotations

import hashlib
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from storage.blobs import BlobStore, open_store

PIECE = b"\x5a" * (1 << 20)
STALL_PIECES = 40
STREAM_PIECES = 200
STALL_AFTER = 3
"""Parts of a file that arrive before its writer stalls; those that are under way at that moment may arrive too."""


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


def _stall_file(store: BlobStore) -> None:
    """Sends a file's first parts, and then waits to be killed."""
    sent: list[int] = []

    def after(**_: object) -> None:
        sent.append(1)
        if len(sent) == STALL_AFTER:
            print("stalled", flush=True)
        if len(sent) >= STALL_AFTER:
            signal.pause()

    store._client.meta.events.register("after-call.s3.UploadPart", after)  # type: ignore[attr-defined]
    store.put_file(Path(sys.argv[3]))


if __name__ == "__main__":
    what, url = sys.argv[1:3]
    if what == "stream":
        _stream(open_store(url))
    elif what == "stall-file":
        _stall_file(open_store(url))
    else:
        _stall(open_store(url), announced=what == "stall-announced")
