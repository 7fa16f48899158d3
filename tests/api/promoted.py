"""Jobs that have succeeded with an artifact in the store, for the tests of aliases."""

from __future__ import annotations

from storage.blob_index import confirm, hold
from storage.records import Job
from tests.api.place import Place, verdict

__all__ = ["finished_job"]


def finished_job(place: Place, content: bytes = b"bytes", *, name: str = "net") -> tuple[Job, str]:
    """A job that has succeeded, and the digest of what it chose (`prune@onnxruntime`)."""
    blob, job = place.blobs.put([content]), place.job(name=name)
    with place.database.begin() as tx:
        confirm(tx, hold(tx, blob))
    place.plan(job, ["lower"])
    claim = place.start(job, "lower")
    assert claim is not None
    place.finish(claim, outputs={"artifact": blob.digest})
    place.succeed(job, verdict(blob.digest))
    return job, blob.digest
